"""Ray's own memory monitor kills a trial that takes too much: it goes on with fewer beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qaclims_ray.config.experiment import dump

SCRIPT = """
import logging
import sys
from pathlib import Path

import numpy as np

from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import load
from qaclims_ray.search import tuner
from qaclims_ray.search.results import search_artifact

def trial(search, folder, config):
    from ray import tune
    from qaclims_ray.storage.files import write_json

    name = Path(tune.get_context().get_trial_dir()).name
    write_json(f"{folder}/{tuner.NAME}/{name}/{tuner.OVERRIDES}", config["overrides"])
    begun, held = Path(folder, "begun"), []
    hungry = not begun.exists()
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()
    while hungry:  # until Ray ends this process
        held.append(np.ones(2**22))
    tune.report({"epoch": 1, "miou": 0.5})

logging.basicConfig(level=logging.WARNING)
tuner._trial = trial
experiment = load(sys.argv[1])
start(experiment.compute)
print(tuner._run_with_fewer(experiment, search_artifact(experiment), {"CPU": 1.0, "GPU": 0.0}))
"""
GIB = 2**20
"""In KiB, as the kernel counts."""


def _memory() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}


@pytest.mark.slow
def test_a_trial_that_ray_kills_for_memory_is_tried_again_alone(make_experiment, tmp_path):
    """It takes up to 4 GiB of memory, and needs a machine where others take no more meanwhile."""
    memory = _memory()
    if memory["MemAvailable"] < 6 * GIB:
        pytest.skip("less than 6 GiB of memory are available")
    limit = 1 - (memory["MemAvailable"] - 4 * GIB) / memory["MemTotal"]
    own = {
        "tune.space": {"train.ritc.loss.area": {"uniform": [0.1, 0.2]}},
        "tune.num_trials": 2,
        "compute.tune": {"max_failures": 0, "max_concurrent": 2, "num_cpus": 1},
        "compute.num_cpus": 3,
        "compute.object_store_megabytes": 100,
    }
    (tmp_path / "search.yaml").write_text(dump(make_experiment(tmp_path / "run", own)))
    job = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "search.yaml")],
        capture_output=True,
        text=True,
        timeout=280,
        env={
            **os.environ,
            "RAY_memory_usage_threshold": f"{limit:.4f}",
            "RAY_memory_monitor_refresh_ms": "100",
        },
    )
    assert job.returncode == 0, job.stderr
    assert job.stdout.splitlines()[-1] == str({"trial_00000": None, "trial_00001": None})
    assert "were killed for lack of memory: they go on, 1 at a time" in job.stderr
