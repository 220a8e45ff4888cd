import pyarrow as pa
import pytest
import torch

from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.metrics.confusion import mean_iou
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.predictor import load_cam_net
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.search.holdout import write_names
from qaclims_ray.search.trial import (
    Candidate,
    confusions,
    finalist_experiment,
    make_choosing_scorer,
    seed_experiment,
    trial_experiment,
    with_own_rates,
)
from qaclims_ray.storage.files import read_json
from qaclims_ray.train.classifier import ClassifierTask
from qaclims_ray.train.optim import build_optimizer
from qaclims_ray.train.rows import TrainingSet
from qaclims_ray.train.step import Step

AREA = "train.ritc.loss.area"


@pytest.fixture
def search(demo_run, tmp_path):
    """A search's experiment whose run is empty, and finds everything in the demo run."""
    return demo_run.with_overrides({"run": str(tmp_path), "base": [demo_run.run]})


def _net(experiment):
    names = class_names(artifact(experiment, "images"))
    model = f"{artifact(experiment, 'cam_net').uri}/model.safetensors"
    return load_cam_net(model, experiment.model.backbone, len(names))


def test_a_trial_shares_what_comes_before_it(search, demo_run):
    trial = trial_experiment(search, f"{search.run}/search/trials/a", {AREA: 0.5})
    for name in ("images", "pairs", "texts", "classifier"):
        assert artifact(trial, name).uri == artifact(demo_run, name).uri
    assert own_artifact(trial, "cam_net").digest != own_artifact(demo_run, "cam_net").digest
    assert trial.train.ritc.loss.area == 0.5


def test_curves_are_the_scores_of_the_stages(demo_run):
    scores = read_json(f"{artifact(demo_run, 'scores').uri}/{SCORES}")
    names = [f"{name}" for name in _names(demo_run)]
    curve = mean_iou(confusions(demo_run, _net(demo_run), names))
    assert curve == pytest.approx(scores["miou"], abs=1e-5)


def _names(experiment):
    from qaclims_ray.run.images import names_to_score

    return names_to_score(experiment)


def test_a_trial_is_scored_on_the_images_that_choose_alone(search, demo_run):
    choosing, _ = write_names(search, f"{search.run}/search")
    trial = trial_experiment(search, f"{search.run}/search/trials/a", {})
    net = _net(demo_run)
    scores = make_choosing_scorer(trial, trial.train.ritc)(net)
    curve = mean_iou(confusions(demo_run, net, choosing))
    assert scores["miou"] == pytest.approx(curve.max())
    assert scores["fixed_miou"] == pytest.approx(curve[0], abs=1e-6)  # 0.1 is next to 0.15
    assert read_json(f"{trial.run}/curve.json") == pytest.approx(curve.tolist(), abs=1e-6)


def test_a_finalist_uses_its_trials_network_for_the_trials_seed_alone(search):
    folder = f"{search.run}/search"
    candidate = Candidate("trial_1", {AREA: 0.5}, (f"{folder}/trials/trial_1",))
    trial = trial_experiment(search, candidate.base[0], candidate.overrides)
    same = finalist_experiment(search, folder, candidate, search.train.seed)
    other = finalist_experiment(search, folder, candidate, 7)
    assert own_artifact(same, "cam_net").digest == own_artifact(trial, "cam_net").digest
    assert other.train.ritc.validate_every is None
    seeded = seed_experiment(search, folder, 7)
    assert seeded.run in other.base
    assert own_artifact(other, "classifier").digest == own_artifact(seeded, "classifier").digest


def _step(experiment, fit):
    net = build_cam_net("small_resnet", 3)
    same = experiment.with_overrides({"train.classifier.optimiser": fit.optimiser.model_dump()})
    task = ClassifierTask(same, TrainingSet(pa.table({}), ()), torch.device("cpu"))
    groups = task.parameter_groups(net)
    return Step(net, lambda logits, batch: {}, build_optimizer(groups, fit.optimiser), fit, 10)


def test_anothers_state_goes_on_with_own_rates(search):
    fit = search.train.ritc
    own = fit.model_copy(
        update={"optimiser": fit.optimiser.model_copy(update={"learning_rate": 0.25})}
    )
    steps = [_step(search, one) for one in (fit, own)]
    state = {"step": 5, "scores": [], **steps[0].state()}
    steps[1].load_state(with_own_rates(state, own.optimiser))
    groups = steps[1].state()["optimizer"]["param_groups"]
    assert [group["lr"] for group in groups] == [0.25, 0.25 * own.optimiser.head_lr_multiplier]
    assert state["optimizer"]["param_groups"][0]["lr"] == fit.optimiser.learning_rate
    weights = [one.state()["model"]["classifier.weight"] for one in steps]
    assert torch.equal(*weights)
    assert torch.isfinite(weights[0]).all()
