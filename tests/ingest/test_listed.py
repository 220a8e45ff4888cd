import pytest

from qaclims_ray.ingest import listed
from qaclims_ray.ingest.listed import SOURCE, ListedSources
from qaclims_ray.ingest.sources import Source
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import PendingBlocks, work_schema
from qaclims_ray.storage.parquet import read_parquet


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Unfinished images; listings have two sources a shard."""
    monkeypatch.setattr(listed, "_ROWS", 2)
    return Artifact("images", f"{tmp_path}/images", {})


def _sources(names, **values):
    empty = {"labels": [0], "mask": None, "annotations": None}
    return [Source(name=name, image=f"/d/{name}.jpg", **{**empty, **values}) for name in names]


def _loaded(target):
    """Put a finished row beside the listing."""
    rows = [{"name": "a", "image": b"", "height": 1, "width": 1}]
    PendingBlocks(target).put("0", listed.pa.Table.from_pylist(rows, work_schema("images")))


def test_sources_lie_in_shards_in_their_order(target):
    sources = _sources("abcde")
    found = ListedSources(target, sources)
    rows = [row for uri in found.shards for row in read_parquet(uri, SOURCE).to_pylist()]
    assert (rows, len(found.shards)) == (sources, 3)
    assert [*found.paths()][1] == {"c": "/d/c.jpg", "d": "/d/d.jpg"}


def test_those_that_should_have_a_mask_are_given_one_by_one(target):
    sources = [*_sources("ab"), *_sources("c", mask="/m"), *_sources("de", annotations="{}")]
    assert [one["name"] for one in ListedSources(target, sources).masked()] == ["c", "d", "e"]


@pytest.mark.parametrize("names", ["abcde", "abcd", "abcdef", "abcdx", "ab"])
def test_rows_that_were_loaded_from_another_listing_are_dropped(target, names):
    ListedSources(target, _sources("abcde"))
    _loaded(target)
    found = ListedSources(target, _sources(names))
    assert len(PendingBlocks(target).blocks()) == (names == "abcde")
    rows = [row["name"] for uri in found.shards for row in read_parquet(uri, SOURCE).to_pylist()]
    assert "".join(rows) == names
