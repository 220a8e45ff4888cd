import pickle

import pytest

from qaclims_ray.run.name_list import NameList, read_names, write_lists


@pytest.mark.parametrize("remote", [False, True])
def test_names_come_back_in_their_order(tmp_path, remote):
    folder = "memory://names" if remote else str(tmp_path)
    names = [f"näme {number:04d}\u2028" for number in range(1000)]
    uris = [f"{folder}/{file}" for file in "ab"]
    one, other = write_lists(uris, ((i % 3 == 0, name) for i, name in enumerate(names)))
    assert (len(one), len(other)) == (666, 334)
    assert sorted([*one, *other]) == names
    assert list(other) == list(other) == names[::3]
    assert list(pickle.loads(pickle.dumps(one))) == list(read_names(one.uri))


def test_a_file_is_read_as_its_names_are_asked_for(tmp_path):
    names = NameList(str(tmp_path / "names.txt"), 10**6)
    (tmp_path / "names.txt").write_text("a\n" * 10**6)
    remaining = iter(names)
    assert [next(remaining) for _ in range(3)] == ["a"] * 3
    with (tmp_path / "names.txt").open("r+") as file:
        file.truncate(8)
    assert sum(1 for _ in remaining) < 10**6 - 3


def test_no_list_appears_where_names_break_off(tmp_path):
    def names():
        yield 0, "a"
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_lists([str(tmp_path / "a"), str(tmp_path / "b")], names())
    assert not list(tmp_path.iterdir())
