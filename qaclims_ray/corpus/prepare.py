"""What tasks on CPUs do with images ahead of the engine: look up what is known, decode the rest."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.answers import Reply
from qaclims_ray.corpus.ask import questions_about
from qaclims_ray.corpus.cache import AnswerCache, reply_row
from qaclims_ray.images.decoded import Fit, decode_tables, undecoded_table
from qaclims_ray.types import REPLY_FIELDS

_ADDED = pa.schema([("key", pa.string()), ("known", pa.list_(pa.struct(REPLY_FIELDS)))])


class Known(NamedTuple):
    """What a cache knows of some images, in their order."""

    keys: list[str]
    replies: list[dict[str, Reply]]
    """Replies to the questions that will be asked, by question."""
    is_all: list[bool]


def prepare(
    images: pa.Table,
    *,
    max_pixels: int,
    fit: Fit | None = None,
    class_names: Sequence[str],
    questions: Questions,
    cache: AnswerCache | None,
) -> Iterator[pa.Table]:
    """Decode image rows (name, image, labels); with a cache, those of which not all is known.

    Returns:
        Tables of `KeyedRow`.
    """
    if cache is None:
        yield from decode_tables(images, max_pixels, fit)
        return
    known = _known(images, class_names, questions, cache)
    is_all = pa.array(known.is_all, pa.bool_())
    yield _with(undecoded_table(images.filter(is_all)), known, _places(known.is_all, True))
    rows, start = _places(known.is_all, False), 0
    others = images.filter(pc.call_function("invert", [is_all]))
    for table in decode_tables(others, max_pixels, fit):
        yield _with(table, known, rows[start : start + len(table)])
        start += len(table)


def _places(flags: Sequence[bool], wanted: bool) -> list[int]:
    """Return the places of a flag."""
    return [place for place, flag in enumerate(flags) if flag is wanted]


def _known(
    images: pa.Table, class_names: Sequence[str], questions: Questions, cache: AnswerCache
) -> Known:
    keys = [cache.key(image.as_buffer()) for image in images["image"]]
    found = cache.look_up(set(keys))
    asked = [
        [question.text for question in questions_about(labels, class_names, questions)]
        for labels in images["labels"].to_pylist()
    ]
    replies = [_of_use(found.get(key, {}), texts) for key, texts in zip(keys, asked, strict=True)]
    # Without a question nothing is known, not even whether it is an image.
    is_all = [
        bool(texts) and one.keys() >= set(texts) for texts, one in zip(asked, replies, strict=True)
    ]
    return Known(keys, replies, is_all)


def _of_use(said: Mapping[str, Reply], texts: Sequence[str]) -> dict[str, Reply]:
    """Return the replies to some questions; none where no answer is among them.

    With such replies alone an image would fail, and fail again whenever it is tried.
    """
    replies = {text: said[text] for text in texts if text in said}
    return replies if any(isinstance(reply, str) for reply in replies.values()) else {}


def _with(table: pa.Table, known: Known, rows: Sequence[int]) -> pa.Table:
    """Add the keys of some images, and what is known of them, to their table."""
    replies: list[list[dict[str, Any]]] = [
        [reply_row(*one) for one in known.replies[row].items()] for row in rows
    ]
    keys = [known.keys[row] for row in rows]
    added = pa.table({"key": keys, "known": replies}, schema=_ADDED)
    for name in _ADDED.names:
        table = table.append_column(_ADDED.field(name), added[name])
    return table
