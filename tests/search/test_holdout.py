import pytest

from qaclims_ray.search.holdout import CHOOSING, HELD_OUT, read_names, split_names, write_names

NAMES = [f"image-{number:04d}" for number in range(1000)]


def test_no_image_chooses_and_is_reported():
    choosing, held_out = split_names(NAMES, 0.3, 0)
    assert sorted([*choosing, *held_out]) == NAMES
    assert not set(choosing) & set(held_out)
    assert 250 < len(held_out) < 350


def test_a_names_side_depends_on_nothing_but_name_and_seed():
    choosing, _ = split_names(NAMES, 0.5, 0)
    assert split_names(NAMES[:500], 0.5, 0)[0] == [name for name in choosing if name in NAMES[:500]]
    assert split_names(NAMES, 0.5, 1)[0] != choosing


def test_a_side_without_images_is_refused():
    with pytest.raises(ValueError, match=r"leaves . to choose by and . to report"):
        split_names(["one"], 0.5, 0)


def test_both_lists_are_written(demo_run, tmp_path):
    written = write_names(demo_run, str(tmp_path))
    assert tuple(read_names(str(tmp_path / name)) for name in (CHOOSING, HELD_OUT)) == written
    assert sum(map(len, written)) == 8
