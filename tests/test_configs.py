"""Every file of configs/ loads, and says in its opening comment what it is and how it is run."""

import re
from pathlib import Path

import pytest
import yaml

from qaclims_ray.config.experiment import Experiment, dump, load
from qaclims_ray.config.study import Study, load_study
from qaclims_ray.jobs.command import COMMANDS
from qaclims_ray.preflight.check import artifacts_until
from qaclims_ray.preflight.estimate import count, estimate
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.run.recipe import recipe
from qaclims_ray.search.ablation import trials

ROOT = Path(__file__).parents[1]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").glob("*.yaml"))
STUDIES = [path for path in FILES if "variants" in yaml.safe_load((ROOT / path).read_text())]
EXPERIMENTS = [path for path in FILES if path not in STUDIES]


def _opening(path: str) -> str:
    """The comment before the first key."""
    text = (ROOT / path).read_text()
    return "\n".join(re.match(r"((?:#.*)?\n)*", text)[0].splitlines())


def test_the_demo_is_there():
    assert "configs/demo.yaml" in EXPERIMENTS


@pytest.mark.parametrize("path", EXPERIMENTS)
def test_an_experiment_loads_and_its_resolved_tree_is_equal(path, tmp_path):
    experiment = load(ROOT / path)
    assert experiment.plain()["data"] == {**experiment.data.model_dump(mode="json")}
    saved = tmp_path / "config.yaml"
    saved.write_text(dump(experiment), encoding="utf-8")
    assert load(saved) == experiment
    assert Experiment.model_validate(experiment.plain()) == experiment


@pytest.mark.parametrize("path", STUDIES)
def test_every_trial_of_a_study_loads(path):
    study = load_study(ROOT / path)
    assert isinstance(study, Study)
    for split, seeds in (("tuning", study.tuning_seeds), ("reporting", study.reporting_seeds)):
        found = list(trials(study, split))
        assert len(found) == len(study.variants) * len(seeds)
        assert len({trial.experiment.run for trial in found}) == len(found)


@pytest.mark.parametrize("path", FILES)
def test_a_file_opens_with_its_setting_hardware_and_command(path):
    opening = _opening(path)
    for word in ("Setting", "Hardware", "Command"):
        assert re.search(rf"^# {word}\s+\S", opening, re.MULTILINE), f"no line {word!r}"
    command = re.search(r"^# Command\s+qaclims ([\w-]+) --config (\S+)", opening, re.MULTILINE)
    assert command is not None
    assert command[1] in {one.name for one in COMMANDS}
    assert command[2] == Path(path).stem


@pytest.mark.parametrize("path", EXPERIMENTS)
def test_two_experiments_never_share_a_run(path):
    others = [load(ROOT / other).run for other in EXPERIMENTS if other != path]
    assert load(ROOT / path).run not in others


@pytest.mark.parametrize("kind", ["voc12", "coco14", "folder"])
def test_the_way_by_clip_trains_the_segmenter_alone(kind):
    experiment = load(ROOT / f"configs/{kind}_clip.yaml")
    names = artifacts_until("", experiment)
    assert [name for name in names if ARTIFACTS[name].kind == "network"] == ["segmenter"]
    assert {"corpus", "cam_texts", "cams", "masks", "predictions"} <= set(names)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("configs/voc12_ovseg.yaml", {"pairs": 16_458, "height": 375, "width": 500}),
        # COCO's paper counts 2.9 classes an image.
        ("configs/coco14_ovseg.yaml", {"pairs": 238_000, "height": 480, "width": 640}),
    ],
)
def test_parity_is_at_full_resolution_and_its_cams_fit_on_the_disk(path, size):
    experiment = load(ROOT / path)
    assert experiment.cams.resolution == "full"
    counts = count(experiment)._replace(**size)
    cams = [estimate(experiment, name, counts).num_bytes for name in ("baseline_cams", "cams")]
    disk = int(re.search(r"^# Hardware.* (\d+) GB of disk", _opening(path), re.MULTILINE)[1])
    assert sum(cams) + 40e9 <= disk * 1e9


def test_thresholds_are_searched_over_what_the_demo_makes():
    demo, search = load(ROOT / "configs/demo.yaml"), load(ROOT / "configs/tune_thresholds.yaml")
    assert search.base == (demo.run,)
    assert recipe(search, "cams") == recipe(demo, "cams")
