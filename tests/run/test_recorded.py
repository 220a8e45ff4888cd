import pytest

from qaclims_ray.config.experiment import load
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.recipe import recipe
from qaclims_ray.run.recorded import CONFIG, recorded
from qaclims_ray.storage.files import write_bytes


def _build(target):
    write_bytes(f"{target.uri}/model.safetensors", b"1")
    return Built(1, 0, {"class_names": ["cat"]})


def test_a_run_keeps_the_configuration_of_what_was_made_last(make_experiment, tmp_path):
    first = make_experiment(tmp_path / "run", {"base": ["elsewhere"], "compute.num_cpus": 3})
    make(first, "images", _build, overwrite=False)
    assert recorded(str(tmp_path / "run")) == first.anchored()
    assert load(tmp_path / "run" / CONFIG) == first.anchored()
    second = first.with_overrides({"train.classifier.epochs": 7})
    make(second, "images", _build, overwrite=False)  # complete: nothing is made
    assert recorded(str(tmp_path / "run")) == first.anchored()
    make(second, "classifier", _build, overwrite=False)
    assert recorded(str(tmp_path / "run")) == second.anchored()


def test_a_run_of_an_earlier_version_is_put_together_from_recipes(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "old")
    for name in ("images", "classifier", "baseline_cams"):
        make(experiment, name, _build, overwrite=False)
    (tmp_path / "old" / CONFIG).unlink()
    found = recorded(str(tmp_path / "old"))
    assert found.name == "old"
    assert found.compute.num_cpus is None  # decides no content
    for name in ("images", "classifier", "baseline_cams"):
        assert recipe(found, name) == recipe(experiment, name)


def test_a_folder_that_says_nothing_is_no_run(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"other holds neither config\.yaml nor a complete"):
        recorded(str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"nothing in .*othr; beside it are other"):
        recorded(str(tmp_path / "othr"))
