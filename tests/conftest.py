"""One local Ray for the whole test session, and one small demo run that stage tests share."""

import os
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from qaclims_ray.config.experiment import Experiment, load
from tests import build

ROOT = Path(__file__).parents[1]

for _key, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",  # two processes of tests and Ray's own share the cores
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "RAY_memory_monitor_refresh_ms": "0",  # it kills what starts last where others fill the memory
}.items():
    os.environ[_key] = _value

SMALL = {
    "data.num_images": 8,
    "new_images.num_images": 4,
    "data.shard_megabytes": 0.004,
    "train.classifier.epochs": 1,
    "train.ritc.epochs": 1,
    "train.irn.epochs": 1,
    "train.segmenter.epochs": 1,
    "cams.scales": [1.0],
    "refine.seeds.foreground": 0.3,
    "refine.seeds.background": 0.1,
    "refine.masks.kind": "irn",
    "refine.masks.background": 0.2,
    "train.segmenter.net": "smp:DeepLabV3Plus/tu-mobilenetv3_small_050",
    "train.segmenter.weights": None,
    "segment.refine": "none",
    "evaluate.unsure": "background",
    "evaluate.thresholds": [0.1, 0.3, 0.5, 0.7, 0.9],
    "compute.train.num_workers": 0,
    "compute.corpus.num_actors": 1,
    "compute.cams.num_actors": 1,
}
"""What makes the demo take seconds."""


MakeExperiment = Callable[..., Experiment]


@pytest.fixture(scope="session")
def png() -> Callable[[np.ndarray], bytes]:
    """`tests.build.png`, as a fixture."""
    return build.png


@pytest.fixture
def truth() -> np.ndarray:
    """A cat beside a dog, and one ignored pixel."""
    label_map = np.zeros((6, 8), np.uint8)
    label_map[1:3, 1:4] = 1
    label_map[3:5, 4:8] = 2
    label_map[0, 0] = 255
    return label_map


@pytest.fixture(scope="session")
def demo_config() -> Path:
    return ROOT / "configs" / "demo.yaml"


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Overrides that make the demo take seconds."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def make_experiment(demo_config: Path) -> MakeExperiment:
    """A small demo experiment in the folder given, with further overrides."""

    def make(run: str | Path, overrides: dict[str, Any] | None = None) -> Experiment:
        return load(demo_config, {**SMALL, "run": str(run), **(overrides or {})})

    return make


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this session's own; more logical CPUs than cores, as waiting actors hold some."""
    import ray

    from qaclims_ray.cluster.session import start
    from qaclims_ray.config.compute import Compute

    # Below a short folder of its own: socket paths are limited to 107 characters.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        start(Compute(num_cpus=4, object_store_megabytes=200))
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def demo_run(
    local_ray: None, make_experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory
) -> Experiment:
    """A demo run with all artifacts complete; read only."""
    from qaclims_ray.run.graph import ARTIFACTS, is_needed

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the first process makes it, the other ones wait
        folder = folder.parent
    experiment = make_experiment(folder / "demo")
    with FileLock(folder / "demo.lock"):
        for name in ARTIFACTS:
            if is_needed(experiment, name):
                run_stage(experiment, name)
    return experiment


def run_stage(experiment: Experiment, name: str) -> str:
    """Make an artifact by its stage; return the closing line."""
    from qaclims_ray.run.graph import ARTIFACTS

    return import_module(f"qaclims_ray.{ARTIFACTS[name].stage}").run(experiment, name)
