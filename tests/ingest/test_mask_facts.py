import json

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from qaclims_ray.ingest.mask_facts import check_masks, count_masks, mask_lines
from qaclims_ray.types import SCHEMAS
from tests.build import png

NAMES = ("cat", "dog", "fox")


def facts(*images):
    """Facts of images (labels, values of the mask, or None for an image without one)."""
    rows = [
        {"labels": labels, "mask": None if values is None else png(np.array([values], np.uint8))}
        for labels, values in images
    ]
    schema = pa.schema([SCHEMAS["images"].field(name) for name in ("labels", "mask")])
    return count_masks(pads.dataset(pa.Table.from_pylist(rows, schema)), NAMES)


def test_masks_are_compared_with_labels():
    found = facts(
        ([0], [0, 1, 1, 1]),  # as it should be
        ([0, 1], [0, 0, 1, 3]),  # fox is not labelled, dog not shown
        ([2], [2, 255, 255, 0]),  # dog is not labelled, fox not shown
        ([], [0, 0, 0, 0]),
        (None, [2, 2, 2, 2]),  # nobody said what it shows
        ([1], None),
    )
    assert found == {
        "shown": {"cat": 2, "dog": 2, "fox": 1},
        "not_labelled": {"cat": 0, "dog": 1, "fox": 1},
        "not_shown": {"cat": 0, "dog": 1, "fox": 1},
        "num_not_labelled": 2,
        "num_not_shown": 2,
        "ignored": 0.1,
    }
    assert json.loads(json.dumps(found)) == found
    more, less = check_masks(found)
    assert more.startswith(
        "2 images have a mask that shows a class which their labels lack: dog in 1, fox in 1. Is"
    )
    assert less.startswith("2 images have a label whose class their mask lacks: dog in 1, fox in")
    assert "2 masks show a class that the labels lack, 2 lack one" in mask_lines(found)[0]


def test_no_masks_give_no_facts():
    assert facts(([0], None)) is None
    assert check_masks(None) == mask_lines(None) == []


def test_masks_that_agree_give_no_warning():
    assert check_masks(facts(([0, 1], [0, 1, 2, 2]), ([], [0, 0]))) == []


@pytest.mark.parametrize(("values", "share"), [([0, 0, 255, 255], "50.0%"), ([0, 0], "0.0%")])
def test_masks_without_any_class_cannot_be_scored(values, share):
    (warning,) = check_masks(facts(([0], values)))
    assert warning.startswith(f"no mask shows any class ({share} of all pixels are 255")


def test_much_that_is_ignored_is_said():
    assert check_masks(facts(([0], [1, 255, 0, 0]))) == []
    (warning,) = check_masks(facts(([0], [1, 255, 255, 0])))
    assert warning.startswith("50.0% of all pixels of masks are 255")
