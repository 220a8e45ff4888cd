import pytest

from qaclims_ray.benchmark.hours import COCO, UNITS, VOC, hours
from qaclims_ray.benchmark.measure import Timing, Way
from qaclims_ray.benchmark.suite import PARTS


def timing(growth=0, stretch=1.0):
    """2 units a second."""
    way = Way("ours", "a", "float32", "", 4, growth=growth, stretch=stretch)
    return Timing(way, seconds=(2.0, 2.0, 2.0))


def test_every_part_has_its_units():
    assert set(UNITS) == set(PARTS)


def test_units_are_the_papers():
    assert UNITS["VQA"](VOC) == 263_328
    assert UNITS["RITC training"](VOC) == pytest.approx(15 * 16_458 / 1.5)
    assert UNITS["classifier training"](VOC) == 5 * 10_582
    assert UNITS["CAMs"](VOC) == UNITS["random walk"](VOC) == 10_582
    assert (COCO.num_images, COCO.num_pairs) == (82_081, 238_035)


@pytest.mark.parametrize("gpus", [1, 4])
def test_hours_by_hand(gpus):
    assert hours("CAMs", timing(), VOC, gpus) == 10_582 / 2 / 3600 / gpus
    assert hours("VQA", timing(), VOC, gpus) == 263_328 / 2 / 3600 / gpus


@pytest.mark.parametrize(("growth", "factor"), [(0, 1.0), (1, 1.6384), (3, 1.6384**3)])
def test_larger_images_take_longer(growth, factor):
    assert COCO.num_pixels / VOC.num_pixels == 1.6384
    expected = 82_081 * factor / 2 / 3600
    assert hours("random walk", timing(growth), COCO) == pytest.approx(expected)
    assert hours("random walk", timing(growth), VOC) == 10_582 / 2 / 3600
