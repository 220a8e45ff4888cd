"""Images that lack something, from the folder to the segmenter's predictions."""

import numpy as np
import pyarrow.compute as pc
import pytest

from qaclims_ray.demo.world import make_example
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, is_needed
from qaclims_ray.run.tables import read_table
from tests.build import png
from tests.conftest import run_stage

TRAININGS = ("classifier", "ritc", "irn", "segmenter")


@pytest.fixture
def folder(tmp_path):
    """One class alone; a row and a column of pixels, images that nobody labelled, a broken one."""
    images = tmp_path / "mine" / "images"
    images.mkdir(parents=True)
    for index in range(5):
        example = make_example(0, index, biased=True)
        (images / f"plain{index}.png").write_bytes(png(example.image))
    for name, size in {"row": (1, 60), "column": (60, 1)}.items():
        (images / f"{name}.png").write_bytes(png(np.full((*size, 3), 90, np.uint8)))
    (images / "broken.jpg").write_bytes(b"no image")
    (images / "unlabelled.png").write_bytes(png(make_example(0, 9, biased=True).image))
    named = [path.name for path in sorted(images.iterdir()) if path.stem != "unlabelled"]
    (images.parent / "labels.csv").write_text("".join(f"{name},ball\n" for name in named))
    (images.parent / "classes.txt").write_text("ball\n")
    return images.parent


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["irn", "par"])
def test_each_is_a_recorded_row_and_the_others_are_predicted(
    local_ray, make_experiment, folder, tmp_path, kind
):
    experiment = make_experiment(
        tmp_path / "run",
        {
            "data": {"kind": "folder", "root": str(folder), "unlabelled": True},
            "new_images": None,
            "refine.masks.kind": kind,
            "refine.masks.background": 0.1,
            "data.max_errors": 5,
            **{f"train.{each}.augment.crop": 96 for each in TRAININGS},
            **{f"train.{each}.batch_size_per_worker": 3 for each in TRAININGS},
        },
    )
    for name, spec in ARTIFACTS.items():
        if is_needed(experiment, name) and spec.kind != "scores":
            run_stage(experiment, name)
    rows = {name: artifact(experiment, name).require()["rows"] for name in ("images", "cams")}
    assert rows == {"images": 8, "cams": 8}  # of the unlabelled image no map
    for name in ("seeds", "masks", "predictions"):
        table = read_table(artifact(experiment, name))
        present = pc.is_valid(table["label_map"]).to_pylist()
        made = dict(zip(table["name"].to_pylist(), present, strict=True))
        assert (made["row"], made["column"]) == (True, True), name
        assert made.get("unlabelled", False) is (name == "predictions")
        assert sum(made.values()) == (8 if name == "predictions" else 7)
