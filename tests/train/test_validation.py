import pickle

import numpy as np
import pytest

from qaclims_ray.demo.words import CLASSES
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.model.predictor import load_cam_net
from qaclims_ray.run.artifact import artifact
from qaclims_ray.storage.files import read_json
from qaclims_ray.train.validation import draw, make_scorer, rows_to_score
from tests.build import write_artifact


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


def test_up_to_a_million_images_those_are_drawn_that_a_permutation_begins_with():
    for num, wanted, seed in ((7, 3, 0), (7, 9, 1), (2**20, 500, 2)):
        order = np.random.default_rng(seed).permutation(num)
        assert draw(num, wanted, seed).tolist() == sorted(order[:wanted].tolist())


def test_of_more_images_some_are_drawn_without_a_number_for_each():
    num = 10**15  # of which no list fits in memory
    drawn = draw(num, 500, 0)
    assert drawn.tolist() == draw(num, 500, 0).tolist() == sorted(set(drawn.tolist()))
    assert len(drawn) == 500
    assert 0 <= drawn[0] < num / 100 < 99 * num / 100 < drawn[-1] < num
    assert drawn.tolist() != draw(num, 500, 1).tolist()


def test_only_the_images_that_are_drawn_are_looked_up(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, {"train.ritc.validate_images": 2})
    rows = [{"name": f"{i}", "labels": [0], "mask": b"m"} for i in range(9)]
    write_artifact(artifact(experiment, "images"), rows)
    order = np.random.default_rng(experiment.train.seed).permutation(9)
    found = rows_to_score(experiment, experiment.train.ritc)
    assert [row["name"] for row in found] == sorted(f"{i}" for i in order[:2])
