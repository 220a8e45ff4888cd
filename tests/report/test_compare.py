"""Two runs of a few pixels, made as stages make them, and compared."""

import numpy as np
import pyarrow as pa
import pytest

from qaclims_ray.evaluate.rows import Tallies, score_label_map
from qaclims_ray.evaluate.score import SCORES, report_label_maps
from qaclims_ray.images.label_maps import label_map_row
from qaclims_ray.report import compare
from qaclims_ray.report.comparison import labels_of
from qaclims_ray.run.graph import schema_of
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.parquet import write_parquet
from tests.build import photo, png

CLASSES = ["cat", "dog"]
TRUTHS = {name: np.zeros((40, 60), np.uint8) for name in "abcd"}
for _number, _truth in enumerate(TRUTHS.values()):
    _truth[10:30, 10 + 5 * _number : 40] = 1 + _number % 2


@pytest.fixture
def run(make_experiment, tmp_path):
    """Makes a run whose pseudo masks lack so many columns of each object."""

    def make_run(name, missing, names="abcd", classes=CLASSES, **overrides):
        experiment = make_experiment(tmp_path / name, {"refine.masks.kind": "par", **overrides})
        masks = {one: _without(TRUTHS[one], missing) for one in names}

        def images(target):
            rows = [_image_row(one) for one in names]
            _write(target, rows)
            return Built(len(rows), 0, {"class_names": classes, "num_masks": len(rows)})

        def pseudo(target):
            _write(target, [label_map_row(one, mask) for one, mask in masks.items()])
            return Built(len(masks), 0, {})

        def scores(target):
            _write(
                target,
                [
                    score_label_map(one, mask, png(TRUTHS[one]), 2, experiment.evaluate.unsure)
                    for one, mask in masks.items()
                ],
            )
            found = report_label_maps(Tallies(target), experiment, CLASSES, scored="masks")
            write_json(f"{target.uri}/{SCORES}", found)
            return Built(len(masks), 0, {})

        for artifact, build in {"images": images, "masks": pseudo, "mask_scores": scores}.items():
            make(experiment, artifact, build, overwrite=False)
        return experiment.run

    return make_run


def _without(truth, missing):
    mask = truth.copy()
    mask[:, 40 - missing : 40] = 0
    return mask


def _image_row(name):
    row = {"name": name, "image": png(photo()), "height": 40, "width": 60, "labels": [0]}
    return {**row, "mask": png(TRUTHS[name])}


def _write(target, rows):
    table = pa.Table.from_pylist(rows, schema=schema_of(target.name))
    write_parquet(table, f"{target.uri}/part-00000.parquet")


def test_runs_are_compared_in_a_table_and_on_a_page(run, tmp_path):
    a, b = run("a", 2), run("b", 8, **{"refine.masks.background": 0.4})
    told = compare.run([a, b], str(tmp_path / "out.html"))
    assert "configurations differ in, a | b:\n  refine.masks.background: 0.2 | 0.4\n" in told
    (row,) = [line for line in told.splitlines() if line.startswith("Pseudo masks")]
    first, second, difference = (float(word) for word in row.split()[2:5])
    assert difference == pytest.approx(second - first, abs=0.11)
    assert difference < -5
    assert told.endswith(f"compare: 2 runs · {tmp_path}/out.html")
    page = (tmp_path / "out.html").read_text()
    assert page.count('class="panel"') == 4
    assert page.count("<figcaption>b: ") == 4
    assert "refine.masks.background" in page
    assert "<script" not in page


def test_the_page_lies_in_the_first_run_where_nothing_else_is_said(run):
    a, b, c = run("a", 2), run("b", 2), run("c", 3)
    told = compare.run([a, b, c])
    assert told.startswith("configurations are equal")
    assert f"{a}/compare.html" in told


def test_images_that_one_run_lacks_are_left_out_and_told(run):
    told = compare.run([run("a", 2), run("b", 2, names="bc")])
    assert "mask_scores: 2 images are compared; a has scores of 4, b has scores of 2" in told


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"classes": ["dog", "cat"]}, "a has the classes cat, dog, and b has dog, cat"),
        ({"names": "cd"}, "no scores of the same images"),
    ],
)
def test_runs_that_cannot_be_compared_are_an_error(run, other, said):
    with pytest.raises(ValueError, match=said):
        compare.run([run("a", 2, names="ab"), run("b", 2, **other)])


def test_one_run_or_none_is_an_error(run, tmp_path):
    with pytest.raises(ValueError, match="two runs or more"):
        compare.run([run("a", 2)])
    with pytest.raises(ValueError, match="beside it are a"):
        compare.run([str(tmp_path / "a"), str(tmp_path / "aa")])


def test_runs_are_called_by_the_ends_of_their_paths():
    assert labels_of(["runs/a", "runs/b/"]) == ["a", "b"]
    assert labels_of(["x/run", "y/run"]) == ["x/run", "y/run"]
    with pytest.raises(ValueError, match="named twice"):
        labels_of(["runs/a", "runs/a/"])
