import random
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pytest

from qaclims_ray.storage import sorting
from qaclims_ray.storage.sorting import RowSorter

SCHEMA = pa.schema(
    [("name", pa.string()), ("place", pa.int64()), ("labels", pa.list_(pa.string()))]
)


def _rows(num_rows):
    draw = random.Random(0)
    texts = ["é", "a", "z", "\U00010000", "￿"]
    return [
        {
            "name": "".join(draw.choices(texts, k=3)),
            "place": draw.randrange(9),
            "labels": [None, [], [f"label {place}"]][place % 3],
        }
        for place in range(num_rows)
    ]


@pytest.mark.parametrize("run_bytes", [1, 5_000, 2**24])
@pytest.mark.parametrize("keys", [["name"], ["place", "name"]])
def test_rows_come_as_python_sorts_them(monkeypatch, run_bytes, keys):
    monkeypatch.setattr(sorting, "_ROWS", 16)
    monkeypatch.setattr(sorting, "_MOST_RUNS", 7)
    rows = _rows(1500)
    sorter = RowSorter(SCHEMA, keys, run_bytes)
    sorter.add(iter(rows))
    assert sorter.num_rows == 1500
    for _ in range(2):
        assert list(sorter) == sorted(rows, key=itemgetter(*keys))


def test_no_rows_are_none():
    assert list(RowSorter(SCHEMA, ["name"])) == []


class Counted(dict):
    """A row that counts how many there are, now and at most."""

    now = most = 0

    def __init__(self, row):
        super().__init__(row)
        Counted.now += 1
        Counted.most = max(Counted.most, Counted.now)

    def __del__(self):
        Counted.now -= 1


def test_few_rows_are_held_as_they_are(monkeypatch):
    monkeypatch.setattr(sorting, "_ROWS", 10)
    sorter = RowSorter(SCHEMA, ["name"])
    sorter.add(map(Counted, _rows(1000)))
    assert len(list(sorter)) == 1000
    assert 10 <= Counted.most <= 20  # those that are made a table of, and the next


def test_what_is_beyond_memory_is_on_disk_until_the_sorter_is_gone(monkeypatch, tmp_path):
    monkeypatch.setattr(sorting, "_ROWS", 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sorter = RowSorter(SCHEMA, ["name"], 2_000)
    sorter.add(_rows(500))
    sizes = [path.stat().st_size for path in Path(tmp_path).glob("*/*.arrow")]
    assert len(sizes) > 5
    assert max(sizes) < 10_000
    del sorter
    assert not list(tmp_path.iterdir())
