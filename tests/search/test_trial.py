import pytest
import torch

from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.metrics.confusion import mean_iou
from qaclims_ray.model.predictor import load_cam_net
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.scored import scored_images
from qaclims_ray.search.holdout import write_names
from qaclims_ray.search.trial import (
    Candidate,
    TrialCheckpointer,
    confusions,
    finalist_experiment,
    make_selection_scorer,
    seed_experiment,
    trial_experiment,
)
from qaclims_ray.storage.files import read_json

AREA = "train.ritc.loss.area"


@pytest.fixture
def search(upon_demo, tmp_path):
    return upon_demo(tmp_path)


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
    curve = mean_iou(confusions(demo_run, _net(demo_run), scored_images(demo_run).names()))
    assert curve == pytest.approx(scores["miou"], abs=1e-5)


def test_a_trial_is_scored_on_the_selection_images_alone(search, demo_run):
    selection, _ = write_names(search, f"{search.run}/search")
    trial = trial_experiment(search, f"{search.run}/search/trials/a", {})
    net = _net(demo_run)
    scores = make_selection_scorer(trial, trial.train.ritc)(net)
    curve = mean_iou(confusions(demo_run, net, selection))
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


def test_the_last_state_of_a_trial_is_found_again(search):
    saved = []
    target = own_artifact(search, "cam_net")
    checkpointer = TrialCheckpointer(target, lambda: saved.append(target.work))
    assert checkpointer.load() is None
    for step in (1, 2):
        state = {"step": step, "scores": [{"miou": 0.5}], "model": {"w": torch.ones(2) * step}}
        checkpointer.save(state, {})
    found = TrialCheckpointer(target, lambda: None).load()
    assert (found["step"], found["scores"]) == (2, [{"miou": 0.5}])
    assert torch.equal(found["model"]["w"], torch.full((2,), 2.0))
    assert len(saved) == 2
