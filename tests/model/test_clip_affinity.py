import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from qaclims_ray.model.clip_affinity import attention_affinity, box_masks, refine_cams


def _cams(*rows):
    return torch.tensor([[float(cell) for cell in row] for row in rows])[None]


def test_affinity_of_two_patches():
    # Columns and rows already sum to 1, so that only the averaging and the product are left.
    attention = torch.tensor([[[0.75, 0.25], [0.25, 0.75]]])
    expected = torch.tensor([[[0.625, 0.375], [0.375, 0.625]]])
    assert torch.equal(attention_affinity(attention), expected)


def test_rows_are_normalised_after_columns():
    attention = torch.tensor([[[4.0, 1.0], [2.0, 3.0]]])
    expected = attention[0]
    for _ in range(3):
        expected = expected / expected.sum(0)
        expected = expected / expected.sum(1)[:, None]
    expected = (expected + expected.T) / 2
    torch.testing.assert_close(attention_affinity(attention)[0], expected @ expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_affinity_is_symmetric_and_its_rows_sum_to_about_1(seed, num_patches):
    attention = torch.rand(2, num_patches, num_patches, generator=torch.manual_seed(seed)) + 0.1
    affinity = attention_affinity(attention)
    torch.testing.assert_close(affinity, affinity.mT)
    torch.testing.assert_close(affinity.sum(2), torch.ones(2, num_patches), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("cam", "mask"),
    [
        (["000", "000", "000"], ["000", "000", "000"]),
        (["100", "010", "000"], ["110", "110", "000"]),  # diagonal neighbours are one region
        (["1000", "0000", "0010"], ["1000", "0000", "0010"]),  # two regions
        (["111", "100", "100"], ["111", "111", "111"]),  # an L fills its box
        (["11111", "10001", "10101", "10001", "11111"], ["11111"] * 5),  # an island within a ring
        (["1"], ["1"]),
    ],
)
def test_boxes(cam, mask):
    assert torch.equal(box_masks(_cams(*cam), 0.4), _cams(*mask) > 0)


def test_a_region_may_wind():
    rows = ["1" * 9, "0" * 8 + "1", "1" * 9, "1" + "0" * 8, "1" * 9, "0" * 9]
    assert torch.equal(box_masks(_cams(*rows), 0.4), _cams(*["1" * 9] * 5, "0" * 9) > 0)


def test_threshold_is_strict_and_in_whole_255ths():
    cams = torch.tensor([[[1.0, 0, 102 / 255, 0, 102.9 / 255, 0, 103.1 / 255]]])
    assert box_masks(cams, 0.4)[0, 0].tolist() == [True, *[False] * 5, True]


def test_threshold_is_of_each_maps_own_maximum():
    cams = torch.stack([_cams("101")[0], _cams("101")[0] * 0.1])
    assert box_masks(cams, 0.4)[:, 0].tolist() == [[True, False, True]] * 2


def test_the_published_boxes_never_reach_the_last_row_and_column():
    cams = _cams("100", "000", "001")
    assert box_masks(cams, 0.4).sum() == 2
    expected = _cams("100", "000", "000") > 0
    assert torch.equal(box_masks(cams, 0.4, published_faults=True), expected)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
    st.integers(1, 12),
    st.integers(1, 12),
    st.floats(0, 1),
    st.booleans(),
)
def test_boxes_equal_scipys(seed, num_maps, height, width, threshold, faults):
    cams = torch.rand(num_maps, height, width, generator=torch.manual_seed(seed)) ** 3
    expected = torch.zeros(cams.shape, dtype=torch.bool)
    for cam, mask in zip(cams, expected, strict=True):
        levels = (cam.numpy() * 255).astype("uint8")
        regions, _ = ndimage.label(levels > int(threshold * levels.max()), [[1] * 3] * 3)
        for rows, columns in ndimage.find_objects(regions):
            bottom, right = (rows.stop, columns.stop)
            if faults:
                bottom, right = min(bottom, height - 1), min(right, width - 1)
            mask[rows.start : bottom, columns.start : right] = True
    assert torch.equal(box_masks(cams, threshold, published_faults=faults), expected)


def test_masked_cells_spread_and_all_receive():
    affinity = torch.tensor([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]])
    refined = refine_cams(_cams("110"), affinity, torch.tensor([[[True, False, False]]]))
    assert refined.tolist() == [[[0.5, 0.25, 0.25]]]
