"""Keep what an engine was asked: from unfinished blocks of a corpus to files of the cache.

Two passes, of which each part fits into the memory of one process: blocks become sorted runs, some
of them at a time, and each range of keys is gathered from all runs into one file of the cache.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, TypeAlias
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from qaclims_ray.corpus.cache import DIGITS, SCHEMA
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import remove, write_bytes
from qaclims_ray.storage.filesystem import patiently
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import open_parquet, parquet_bytes, read_parquet, write_parquet
from qaclims_ray.types import NOTES

IMAGES = 2**15
"""Images whose replies are in memory at a time: some 100 MB."""

ForEach: TypeAlias = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]
"""Carries out calls of a function, in this process or in many; their results in order."""

_ROW_GROUP = 1024
_KEYS = 16**DIGITS
_NOTES = pa.schema(NOTES["corpus"])


def keep(blocks: Sequence[str], images: int, cache: str, scratch: str, for_each: ForEach) -> int:
    """Write what was asked in unfinished blocks into a cache.

    Args:
        blocks: Files of rows of a corpus.
        images: Rows of a block, about.
        cache: Folder or URL.
        scratch: Folder for what is in between.
        for_each: Where to do it.

    Returns:
        The number of replies that were there already, when the rows of the blocks were made.
    """
    step, folder = max(1, IMAGES // images), f"{scratch}/{uuid4().hex}"
    parts = [blocks[start : start + step] for start in range(0, len(blocks), step)]
    runs = [(part, f"{folder}/{number:05d}.parquet") for number, part in enumerate(parts)]
    taken = for_each(sort_replies, runs)
    for_each(gather_replies, [(folder, *one, cache) for one in key_ranges(len(runs))])
    remove(folder)
    return sum(taken)


def key_ranges(number: int) -> list[tuple[str, str]]:
    """Divide all keys into ranges of about equal share; their first and last digits."""
    borders = [at * _KEYS // max(1, number) for at in range(number + 1)]
    return [
        (f"{first:0{DIGITS}x}", f"{after - 1:0{DIGITS}x}") for first, after in pairwise(borders)
    ]


def sort_replies(blocks: Sequence[str], run: str) -> int:
    """Sort what was asked in some blocks by key; return how many replies were there already.

    A block that cannot be read, as of work that was broken off, is left out.
    """
    read = [attempt(read_parquet, block, _NOTES) for block in blocks]
    notes = pa.concat_tables(
        [_NOTES.empty_table(), *(one for one in read if not isinstance(one, ValueError))]
    ).combine_chunks()
    asked, keys = notes["asked"].combine_chunks(), notes["key"].combine_chunks()
    parents = pc.call_function("list_parent_indices", [asked])
    columns = [keys.take(parents), *asked.flatten().flatten()]
    replies = pa.Table.from_arrays(columns, schema=SCHEMA)
    write_parquet(replies.sort_by(_ORDER), run, _ROW_GROUP)
    return pc.call_function("sum", [notes["taken"]]).as_py() or 0


def gather_replies(folder: str, first: str, last: str, cache: str) -> None:
    """Write the replies of a range of keys, by their first digits, from all runs into a cache."""
    key, runs = pads.field("key"), open_parquet(find(f"{folder}/*.parquet"), SCHEMA)
    within = (key >= first) & (key <= f"{last}~")  # what follows the digits comes before "~"
    rows = patiently(lambda: runs.to_table(filter=within), folder).sort_by(_ORDER)
    if len(rows):
        content = parquet_bytes(rows, _ROW_GROUP)
        digest = blake2b(content, digest_size=8).hexdigest()
        write_bytes(f"{cache}/{first}-{last}-{digest}.parquet", content, durable=True)


_ORDER = [("key", "ascending"), ("question", "ascending")]
