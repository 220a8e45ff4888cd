import pytest

from qaclims_ray.run.name_list import NameList, read_names
from qaclims_ray.search.holdout import REPORT, SELECTION, Split, limited, split_names, write_names

NAMES = [f"image-{number:04d}" for number in range(1000)]


def _split(names, share, seed):
    found = list(split_names(names, share, seed))
    return Split(*([name for place, name in found if place == side] for side in (0, 1)))


def test_no_image_is_both_selected_by_and_reported():
    selection, report = _split(NAMES, 0.3, 0)
    assert sorted([*selection, *report]) == NAMES
    assert not set(selection) & set(report)
    assert 250 < len(report) < 350


def test_a_names_side_depends_on_nothing_but_name_and_seed():
    selection, _ = _split(NAMES, 0.5, 0)
    assert selection[:4] == ["image-0002", "image-0003", "image-0004", "image-0008"]
    assert _split(NAMES[:500], 0.5, 0)[0] == [name for name in selection if name in NAMES[:500]]
    assert _split(NAMES, 0.5, 1)[0] != selection


def test_a_name_is_asked_for_when_the_one_before_is_dealt_with():
    asked = []
    split = split_names((asked.append(name) or name for name in NAMES), 0.5, 0)
    next(split)
    assert asked == NAMES[:1]


def test_a_side_without_images_is_refused():
    with pytest.raises(ValueError, match=r"leaves . to select by and . to report"):
        _split(["one"], 0.5, 0)


def test_both_lists_are_written(demo_run, tmp_path):
    written = write_names(demo_run, str(tmp_path))
    for name, names in zip((SELECTION, REPORT), written, strict=True):
        assert isinstance(names, NameList)
        assert list(names) == (tmp_path / name).read_text().splitlines() == sorted(names)
        assert len(names) == len(list(read_names(names.uri)))
    assert sum(map(len, written)) == 8


def test_a_split_that_is_refused_leaves_no_list(demo_run, tmp_path):
    with pytest.raises(ValueError, match=r"leaves \d+ to select by and 0 to report"):
        write_names(demo_run.with_overrides({"tune.holdout": 1e-9}), str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_limit_draws_names_of_either_split_by_the_seed():
    split = _split(NAMES, 0.3, 0)
    few = limited(split, 20, 0)
    assert few.report[:3] == ["image-0030", "image-0093", "image-0109"]
    assert [len(part) for part in few] == [20, 20]
    for some, part in zip(few, split, strict=True):
        assert some == sorted(set(some) & set(part))
    assert limited(split, 20, 0) == few != limited(split, 20, 1)
    assert limited(split, 2000, 0) == limited(split, None, 0) == split
