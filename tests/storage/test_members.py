import pytest

from qaclims_ray.storage import members
from qaclims_ray.storage.members import read_members
from qaclims_ray.storage.paths import member


@pytest.fixture
def asked(monkeypatch):
    """Ranges that were read, of each file."""
    ranges = {}

    def read(uri, wanted, plain=members.read_ranges):
        ranges.setdefault(uri, []).extend(wanted)
        return plain(uri, wanted)

    monkeypatch.setattr(members, "read_ranges", read)
    return ranges


def test_neighbours_come_with_one_request(tmp_path, asked):
    one, other = str(tmp_path / "1.tar"), str(tmp_path / "2.tar")
    content = bytes(range(256)) * 1000
    (tmp_path / "1.tar").write_bytes(content)
    (tmp_path / "2.tar").write_bytes(content[::-1])
    places = [(one, 512, 100), (one, 1024, 7), (one, 200_000, 50), (one, 0, 0), (other, 3, 9)]
    paths = [member(tar, "a.jpg", offset, size) for tar, offset, size in places]
    found = read_members([*paths[::-1], str(tmp_path / "loose.jpg")])
    expected = [(content if tar == one else content[::-1])[o : o + n] for tar, o, n in places]
    assert [found[path] for path in paths] == expected
    assert len(found) == len(paths)
    assert asked == {one: [(0, 1031), (200_000, 50)], other: [(3, 9)]}


def test_a_request_and_what_is_read_ahead_have_bounds(tmp_path, asked, monkeypatch):
    monkeypatch.setattr(members, "_LONGEST", 300)
    monkeypatch.setattr(members, "_MOST", 750)
    tar = str(tmp_path / "1.tar")
    (tmp_path / "1.tar").write_bytes(bytes(2000))
    paths = [member(tar, str(number), 100 * number, 100) for number in range(10)]
    assert sorted(read_members(paths)) == sorted(paths[:7])
    assert asked == {tar: [(0, 300), (300, 300), (600, 100)]}


def test_what_cannot_be_read_is_left_to_those_who_say_why(tmp_path):
    (tmp_path / "1.tar").write_bytes(bytes(100))
    cut, gone = (member(f"{tmp_path}/{tar}", "a", 50, 100) for tar in ("1.tar", "2.tar"))
    odd = tmp_path / "1.tar#a:0+5"
    odd.write_bytes(b"a file of its own")
    assert read_members([cut, gone, str(odd)]) == {}
    assert read_members([]) == {}
