import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from qaclims_ray.metrics.boundary import band_width, boundary_overlap, erode
from qaclims_ray.metrics.confusion import iou

CLASSES = [0, 1, 3]
NUM_THRESHOLDS = 4


def _band(region, distance):
    """As published: erosions by a 3 x 3 square, with the outside of the image as background."""
    eroded = ndimage.binary_erosion(region, np.ones((3, 3)), iterations=distance, border_value=0)
    return region & ~eroded


@st.composite
def _images(draw):
    """Class of the largest CAM, its level, and the truth; large enough for bands of 2 pixels."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(90, 100)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = [generator.integers(0, 5, (1 + shape[0] // 5, 1 + shape[1] // 5)) for _ in range(3)]
    fine = [np.kron(values, np.ones((5, 5), int))[: shape[0], : shape[1]] for values in coarse]
    winner, truth = (np.array([0, 1, 3, 3, 255])[values] for values in (fine[0], fine[2]))
    winner = np.where(winner == 255, 1, winner)
    # Without a CAM there is no level.
    return winner, np.where(winner == 0, 0, fine[1]), truth.astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(_images())
def test_all_thresholds_equal_one_after_the_other_with_scipys_erosion(image):
    winner, level, truth = image
    found = boundary_overlap(winner, level, truth, NUM_THRESHOLDS, CLASSES)
    distance = band_width(*truth.shape)
    for rank in range(NUM_THRESHOLDS):
        prediction = np.where(level > rank, winner, 0)
        for column, value in enumerate(CLASSES):
            predicted = _band((prediction == value) & (truth != 255), distance)
            true = _band(truth == value, distance)
            assert found.hits[rank, column] == (predicted & true).sum()
            assert found.predicted[rank, column] == predicted.sum()
            assert found.true[0, column] == true.sum()


@given(
    hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 9)),
    st.integers(1, 12),
)
def test_erosion_is_the_least_value_of_a_square_with_zeros_around_the_image(values, distance):
    expected = ndimage.minimum_filter(values, 2 * distance + 1, mode="constant", cval=0)
    np.testing.assert_array_equal(erode(values, distance), expected)


def test_a_perfect_prediction_scores_1_however_wide_the_unknown_border_is():
    truth = np.zeros((60, 80), np.uint8)
    truth[10:40, 20:60] = 255
    truth[15:35, 25:55] = 1
    winner = np.zeros((60, 80), int)
    winner[12:38, 22:58] = 1
    found = boundary_overlap(winner, winner, truth, 1, [0, 1])
    np.testing.assert_array_equal(iou(found), [[1, 1]])


def test_a_shifted_square_scores_less_than_its_area_does():
    truth, winner = np.zeros((100, 100), np.uint8), np.zeros((100, 100), int)
    truth[20:80, 20:80] = 1
    winner[20:80, 23:83] = 1
    (_, boundary) = iou(boundary_overlap(winner, winner, truth, 1, [0, 1]))[0]
    # Bands of 3 pixels: rows of 60 - 3 shared above and below, nothing at the sides but corners.
    shared = 2 * 3 * 57
    assert boundary == pytest.approx(shared / (2 * (60**2 - 54**2) - shared))
    assert boundary < 57 / 63


@pytest.mark.parametrize(
    ("size", "width"), [((375, 500), 12), ((480, 640), 16), ((96, 96), 3), ((4, 4), 1)]
)
def test_bands_are_two_percent_of_the_diagonal_wide(size, width):
    assert band_width(*size) == width
