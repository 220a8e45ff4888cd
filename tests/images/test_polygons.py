import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qaclims_ray.images.polygons import fill, trace

regions = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda s: arrays(bool, s))


def _filled(polygons, size):
    parts = np.array([np.zeros(size, bool), *(fill(polygon, size) for polygon in polygons)])
    assert parts.sum(axis=0).max() <= 1  # none overlap
    return parts.any(axis=0)


@given(regions)
@settings(max_examples=300, deadline=None)
def test_a_region_is_what_its_polygons_cover(region):
    assert np.array_equal(_filled(trace(region), region.shape), region)


@given(regions, st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_six_decimals_of_shares_lose_no_pixel(region, scale):
    region = np.kron(region, np.ones((scale, scale), bool))
    sides = np.array(region.shape[::-1])
    rounded = [np.round(polygon / sides, 6) * sides for polygon in trace(region)]
    assert np.array_equal(_filled(rounded, region.shape), region)


def test_corners_are_those_of_pixels_and_straight_lines_have_two():
    region = np.zeros((5, 6), bool)
    region[1:3, 2:5] = True
    (polygon,) = trace(region)
    assert sorted(map(tuple, polygon.tolist())) == [(2, 1), (2, 3), (5, 1), (5, 3)]
    assert trace(np.zeros((3, 3), bool)) == []


def test_parts_are_polygons_of_their_own_and_holes_are_joined():
    ring = np.ones((7, 7), bool)
    ring[2:5, 2:5] = False
    ring[3, 3] = True  # an island in the hole
    polygons = trace(ring)
    assert len(polygons) == 2
    assert sorted(map(len, polygons)) == [4, 4 + 4 + 2]
    corners = np.array([[True, False], [False, True]])  # touch at a corner only
    assert len(trace(corners)) == 2


@pytest.mark.parametrize("turned", [False, True])
def test_a_slanted_polygon_has_the_pixels_whose_centre_it_holds(turned):
    triangle = np.array([[0, 0], [4, 0], [0, 4]], float)
    filled = fill(triangle[::-1] if turned else triangle, (4, 5))
    y, x = np.mgrid[:4, :5] + 0.5
    assert np.array_equal(filled, x + y < 4)


def test_what_lies_beyond_the_image_is_cut_off():
    assert fill(np.array([[-5, -5], [50, -5], [50, 2], [-5, 2]]), (4, 3)).tolist() == [
        [True] * 3, [True] * 3, [False] * 3, [False] * 3
    ]  # fmt: skip
