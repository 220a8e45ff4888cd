import pytest

from qaclims_ray.search.holdout import (
    REPORT,
    SELECTION,
    limited,
    read_names,
    split_names,
    write_names,
)

NAMES = [f"image-{number:04d}" for number in range(1000)]


def test_no_image_is_both_selected_by_and_reported():
    selection, report = split_names(NAMES, 0.3, 0)
    assert sorted([*selection, *report]) == NAMES
    assert not set(selection) & set(report)
    assert 250 < len(report) < 350


def test_a_names_side_depends_on_nothing_but_name_and_seed():
    selection, _ = split_names(NAMES, 0.5, 0)
    assert split_names(NAMES[:500], 0.5, 0)[0] == [
        name for name in selection if name in NAMES[:500]
    ]
    assert split_names(NAMES, 0.5, 1)[0] != selection


def test_a_side_without_images_is_refused():
    with pytest.raises(ValueError, match=r"leaves . to select by and . to report"):
        split_names(["one"], 0.5, 0)


def test_both_lists_are_written(demo_run, tmp_path):
    written = write_names(demo_run, str(tmp_path))
    assert tuple(read_names(str(tmp_path / name)) for name in (SELECTION, REPORT)) == written
    assert sum(map(len, written)) == 8


def test_a_limit_draws_names_of_either_split_by_the_seed():
    split = split_names(NAMES, 0.3, 0)
    few = limited(split, 20, 0)
    assert [len(part) for part in few] == [20, 20]
    for some, part in zip(few, split, strict=True):
        assert some == sorted(set(some) & set(part))
    assert limited(split, 20, 0) == few != limited(split, 20, 1)
    assert limited(split, 2000, 0) == limited(split, None, 0) == split
