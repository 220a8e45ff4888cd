import pickle

import pytest

from qaclims_ray.demo.words import CLASSES
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.model.predictor import load_cam_net
from qaclims_ray.run.artifact import artifact
from qaclims_ray.storage.files import read_json
from qaclims_ray.train.validation import make_scorer


@pytest.fixture(scope="module")
def net(demo_run):
    model = f"{artifact(demo_run, 'cam_net').uri}/model.safetensors"
    return load_cam_net(model, demo_run.model.backbone, len(CLASSES))


def test_all_images_have_the_score_of_the_last_stage(demo_run, net):
    found = make_scorer(demo_run, demo_run.train.ritc)(net)
    best = read_json(f"{artifact(demo_run, 'scores').uri}/{SCORES}")["best"]
    assert found["threshold"] == best["threshold"]
    assert found["miou"] == pytest.approx(best["miou"], abs=1e-6)


def test_the_same_few_images_are_drawn_each_time(demo_run, net):
    fit = demo_run.train.ritc.model_copy(update={"validate_images": 3})
    few, again = (make_scorer(demo_run, fit)(net) for _ in range(2))
    assert few == again
    assert few != make_scorer(demo_run, demo_run.train.ritc)(net)


def test_it_goes_to_other_processes():
    assert pickle.loads(pickle.dumps(make_scorer)) is make_scorer


def test_a_list_of_names_counts(demo_run, tmp_path):
    (tmp_path / "names.txt").write_text("nobody\n")
    listed = demo_run.with_overrides({"evaluate.names": str(tmp_path / "names.txt")})
    with pytest.raises(ValueError, match="lacks images"):
        make_scorer(listed, listed.train.ritc)
