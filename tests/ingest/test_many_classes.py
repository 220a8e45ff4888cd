"""Label tables of many classes take time by their size: what is compared is counted, not timed."""

from qaclims_ray.ingest.folder import read_folder
from qaclims_ray.ingest.label_files import by_name, label_indices, resolve_names
from tests.build import put


class Text(str):
    """Counts how often names are compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Text.compared += 1
        return str.__eq__(self, other)


def test_a_label_is_compared_with_few_names():
    names = [Text(f"class {number}") for number in range(3000)]
    Text.compared = 0
    indices = by_name(names)
    assert [label_indices([name], indices) for name in names] == [[n] for n in range(3000)]
    assert Text.compared < 3 * 3000
    resolve_names(names, None, None)
    assert Text.compared < 30 * 3000


def test_unknown_labels_are_not_compared_with_thousands_of_names(tmp_path, monkeypatch):
    calls = []
    name = "qaclims_ray.ingest.label_files.get_close_matches"
    monkeypatch.setattr(name, lambda *args, **_: calls.append(args) or [])
    put(tmp_path / "images" / "a.jpg", b"")
    put(tmp_path / "classes.txt", "".join(f"c{number}\n" for number in range(5000)))
    put(tmp_path / "labels.csv", "a.jpg,dog\n")
    listing = read_folder(str(tmp_path))
    assert "unknown class 'dog'; classes are c0, c1, c2, c3, c4 and 4,995 more" in str(
        listing.errors
    )
    assert calls == []
