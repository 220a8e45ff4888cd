import numpy as np
import pyarrow as pa
import pytest

from qaclims_ray.evaluate import stream
from qaclims_ray.evaluate.label_maps import SortedTallies
from qaclims_ray.evaluate.rows import score_label_map, unpack
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.images.decode import decode_mask, encode_mask
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.metrics.confusion import count, mean_iou
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import decided_share
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_json
from qaclims_ray.types import IGNORE, SCHEMAS

OF = {"seed_scores": "seeds", "mask_scores": "masks", "prediction_scores": "predictions"}


def _expected(experiment, name, unsure="background"):
    truths = {row["name"]: row for row in read_table(artifact(experiment, "images")).to_pylist()}
    num_classes = len(artifact(experiment, "images").require()["facts"]["class_names"])
    total = 0
    for row in read_table(artifact(experiment, name)).to_pylist():
        predicted, truth = row_label_map(row), decode_mask(truths[row["name"]]["mask"])
        if unsure == "ignore":
            truth = np.where(predicted == IGNORE, np.uint8(IGNORE), truth)
        total = total + count(predicted, truth, num_classes)
    return mean_iou(total)


@pytest.mark.parametrize("name", OF)
def test_scores_are_those_of_one_sum_over_all_images(demo_run, name):
    scores = read_json(f"{artifact(demo_run, name).uri}/{SCORES}")
    assert scores["best"]["miou"] == pytest.approx(_expected(demo_run, OF[name]), abs=1e-6)
    assert scores["num_images"] == 8


def test_a_score_says_what_it_is_of_and_whether_labels_were_used(demo_run):
    settings = {
        name: read_json(f"{artifact(demo_run, name).uri}/{SCORES}")["settings"] for name in OF
    }
    assert {name: one["scored"] for name, one in settings.items()} == OF
    assert settings["seed_scores"]["image labels"] == "used"
    assert settings["prediction_scores"]["image labels"] == "not used"
    share = decided_share(artifact(demo_run, "seeds"))
    assert settings["seed_scores"]["decided"] == pytest.approx(share, abs=1e-6)
    assert settings["prediction_scores"]["pixel-supervised weights"] == (
        "no (the network starts at random)"
    )
    assert settings["prediction_scores"]["decided"] == 1


def test_undecided_pixels_may_be_left_out(demo_run, tmp_path):
    values = {"run": str(tmp_path), "base": [demo_run.run], "evaluate.unsure": "ignore"}
    own = demo_run.with_overrides(values)
    stream.run(own, "seed_scores")
    scores = read_json(f"{artifact(own, 'seed_scores').uri}/{SCORES}")
    expected = _expected(demo_run, "seeds", "ignore")
    assert scores["best"]["miou"] == pytest.approx(expected, abs=1e-6)
    assert scores["settings"]["unsure"] == "ignore"


def test_counts_of_images_come_by_name_as_often_as_one_asks():
    truth = encode_mask(np.array([[0, 1], [1, 2]], np.uint8))
    maps = {name: np.full((2, 2), value, np.uint8) for value, name in enumerate("cab")}
    rows = [score_label_map(name, one, truth, 2, "background") for name, one in maps.items()]
    tables = [pa.Table.from_pylist(rows[i::2], schema=SCHEMAS["scores"]) for i in range(2)]
    tallies = SortedTallies(iter(tables))
    wanted = [unpack(row) for row in sorted(rows, key=lambda row: row["name"])]
    for _ in range(2):
        found = list(tallies)
        assert [one.areas.tolist() for one in found] == [one.areas.tolist() for one in wanted]
        assert [one.classes.tolist() for one in found] == [one.classes.tolist() for one in wanted]
