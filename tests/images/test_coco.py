import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qaclims_ray.images.coco import coco_regions
from qaclims_ray.types import IGNORE


def _decoded(counts, height, width):
    """COCO's compressed run lengths, by their description: 5 bits a character from 48 on, the
    lowest first, bit 6 marks that more follow; from the third on they are differences to the run
    before the last."""
    runs, characters = [], iter(counts)
    for first in characters:
        character, value, shift = first, 0, 0
        while True:
            bits = ord(character) - 48
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                break
            character = next(characters)
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    inside = np.repeat(np.arange(len(runs)) % 2, runs)
    return inside.reshape(width, height).T.astype(bool)


def test_a_region_by_hand():
    label_map = np.array([[0, 1, 1], [0, 1, 255]], np.uint8)
    (region,) = coco_regions(label_map)
    assert region == {
        "category_id": 1,
        "segmentation": {"size": [2, 3], "counts": "231"},  # 2 outside, 3 inside, 1 outside
        "bbox": [1.0, 0.0, 2.0, 2.0],
        "area": 3,
        "iscrowd": 0,
    }


def test_runs_longer_than_a_character():
    label_map = np.zeros((40, 50), np.uint8)
    label_map[10:30, 20:40] = 254
    (region,) = coco_regions(label_map)
    assert (region["category_id"], region["area"]) == (254, 400)
    assert region["bbox"] == [20.0, 10.0, 20.0, 20.0]
    # 810 outside, 20 inside, 20 outside; then 37 runs that equal the one before the last; 790.
    assert region["segmentation"]["counts"] == "Zi0" + "d0" + "d0" + "0" * 37 + "V<"


@pytest.mark.parametrize("value", [0, IGNORE])
def test_background_and_ignored_pixels_are_no_region(value):
    assert coco_regions(np.full((3, 4), value, np.uint8)) == []


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        elements=st.sampled_from([0, 1, 7, 254, 255]),
    )
)
def test_regions_give_the_label_map_back(label_map):
    found = np.zeros_like(label_map)
    for region in coco_regions(label_map):
        code = region["segmentation"]
        inside = _decoded(code["counts"], *code["size"])
        found[inside] = region["category_id"]
        assert region["area"] == inside.sum()
        left, top, width, height = map(int, region["bbox"])
        rows, columns = np.nonzero(inside)
        assert (rows.min(), np.ptp(rows) + 1) == (top, height)
        assert (columns.min(), np.ptp(columns) + 1) == (left, width)
    assert np.array_equal(found, np.where(label_map == IGNORE, 0, label_map))
