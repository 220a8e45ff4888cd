import random

import pytest

from qaclims_ray.ingest import sorted_sources
from qaclims_ray.ingest.sorted_sources import SortedSources
from qaclims_ray.ingest.sources import Source, first_of_each_name
from qaclims_ray.storage import sorting
from qaclims_ray.storage.sorting import RowSorter


def _sources(names):
    return [
        Source(
            name=name,
            image=f"/d/{number}",
            labels=[None, [], [1, 2]][number % 3],
            mask=f"/m/{name}" if number % 2 else None,
            annotations=None,
        )
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("num_names", [5, 300])
def test_the_first_of_each_name_stays_as_in_a_list(monkeypatch, num_names):
    monkeypatch.setattr(sorting, "_ROWS", 8)
    monkeypatch.setattr(sorted_sources, "RowSorter", lambda *both: RowSorter(*both, 100))
    draw = random.Random(0)
    sources = _sources(f"é{draw.randrange(num_names)}" for _ in range(200))
    kept, errors = first_of_each_name(sources)
    found = SortedSources(iter(sources))
    for _ in range(2):
        assert list(found) == sorted(kept, key=lambda source: source["name"])
    assert (len(found), found.errors) == (len(kept), errors)
    assert kept[0] in found
    assert sources[0] | {"name": "x"} not in found


def test_texts_that_no_table_holds_are_recorded():
    found = SortedSources(_sources(["b\udc80", "a"]))
    assert [source["name"] for source in found] == ["a"]
    ((name, reason),) = found.errors
    assert name == "/d/0"
    assert "is not UTF-8 text" in reason
    assert len(found) == 1
