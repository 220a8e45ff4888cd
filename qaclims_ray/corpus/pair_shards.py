"""Write the pairs of one shard of the corpus, whose images' labels lie in the same order."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as pads

from qaclims_ray.config.corpus import Corpus
from qaclims_ray.corpus.texts import pairs_of, texts_of
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import NameIndex, key_ranges
from qaclims_ray.storage.parquet import collect, open_parquet, read_parquet, write_parquet
from qaclims_ray.types import SCHEMAS, CorpusRow, PairsRow

_BATCH = 1024
"""Rows that are Python objects at a time."""


def shards_side_by_side(corpus: Artifact, images: Artifact) -> Iterator[tuple[str, list[str]]]:
    """Each shard of the corpus, with the shards of `images` that hold its names."""
    index = NameIndex(images)
    for shard, keys in key_ranges(corpus):
        yield shard, images.shards() if keys is None else index.shards_between(*keys)


def pair_shard(
    settings: Corpus, class_names: Sequence[str], answered: str, images: Sequence[str], uri: str
) -> list[str]:
    """Write the pairs of a shard, a batch of rows at a time.

    Args:
        settings: The section `corpus`.
        class_names: Names in the order of their indices.
        answered: Shard of the artifact `corpus`.
        images: Shards of the artifact `images` that hold its names.
        uri: Shard of the artifact `pairs` to write.

    Returns:
        The texts of its pairs, each once.

    Raises:
        ValueError: a shard was lost, or lacks an image.
    """
    labelled = open_parquet(images, SCHEMAS["images"])
    texts, tables = set[str](), [SCHEMAS["pairs"].empty_table()]
    corpus = read_parquet(answered, SCHEMAS["corpus"])
    for start in range(0, len(corpus), _BATCH):
        batch: list[CorpusRow] = corpus.slice(start, _BATCH).to_pylist()
        rows = _pairs(settings, class_names, batch, labelled)
        texts |= texts_of(rows)
        tables.append(pa.Table.from_pylist(list(rows), SCHEMAS["pairs"]))
    write_parquet(pa.concat_tables(tables).combine_chunks(), uri)
    return sorted(texts)


def _pairs(
    settings: Corpus,
    class_names: Sequence[str],
    answered: Sequence[CorpusRow],
    labelled: pads.Dataset,
) -> list[PairsRow]:
    """Pair rows that lie together, in the order of their names."""
    if not answered:
        return []
    name, first, last = pads.field("name"), answered[0]["name"], answered[-1]["name"]
    within = (name >= first) & (name <= last)
    found = collect(lambda: labelled, f"images of {first}", ["name", "labels"], within)
    labels = dict(zip(found["name"].to_pylist(), found["labels"].to_pylist(), strict=True))
    if missing := [row["name"] for row in answered if row["name"] not in labels]:
        raise ValueError(
            f"the corpus has answers about {missing[0]!r}, which the images lack: they changed "
            "since; make the corpus anew (qaclims corpus --overwrite)"
        )
    return [pairs_of(row, class_names, settings, labels[row["name"]]) for row in answered]
