import pytest

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.train.task import (
    TRAININGS,
    batches_per_step,
    images_per_step,
    num_steps,
    section_key,
    settings,
)


@pytest.fixture
def experiment(make_experiment, tmp_path) -> Experiment:
    return make_experiment(tmp_path, {"train.classifier.epochs": 3, "train.ritc.epochs": 4})


@pytest.mark.parametrize(("network", "key"), [("classifier", "classifier"), ("cam_net", "ritc")])
def test_each_training_has_its_own_settings(experiment, network, key):
    assert settings(experiment, network) is getattr(experiment.train, key)
    assert section_key(network) == f"train.{key}"
    assert ARTIFACTS[network].kind == "network"


def test_there_is_a_training_for_each_section(experiment):
    """A section that no training reads would be options that do nothing."""
    sections = set(type(experiment.train).model_fields) - {"seed"}
    assert {training.section for training in TRAININGS.values()} == sections


@pytest.mark.parametrize("ask", [settings, batches_per_step, images_per_step])
def test_another_name_is_no_training(experiment, ask):
    with pytest.raises(KeyError, match="cam_nett"):
        ask(experiment, "cam_nett")
    with pytest.raises(KeyError, match="cam_nett"):
        num_steps(experiment, "cam_nett", 100)


def test_the_number_of_workers_at_the_moment_changes_no_step(experiment):
    none, one = (
        experiment.with_overrides({"compute.train.num_workers": number}) for number in (0, 1)
    )
    assert images_per_step(none, "cam_net") == images_per_step(one, "cam_net")
