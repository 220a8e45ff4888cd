"""Ask an engine nothing that is known, and nothing twice about equal images."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

from qaclims_ray.corpus.answers import Reply
from qaclims_ray.corpus.cache import read_reply, reply_row
from qaclims_ray.corpus.engines.base import Engine, UnequalImages
from qaclims_ray.images.decoded import DecodedRow

_REMEMBERED = 4096
"""Images whose replies a process remembers, for equal ones among other files."""


class KeyedRow(DecodedRow):
    """A decoded image with its key in the cache, and what is known about it."""

    key: NotRequired[str]
    known: NotRequired[list[dict[str, Any]]]
    """Rows of `types.REPLY_FIELDS`."""


class Memory:
    """Replies about the images that a process asked about last, by key and question.

    Threads that are at different batches share it.
    """

    def __init__(self) -> None:
        self._replies: OrderedDict[str, dict[str, Reply]] = OrderedDict()
        self._turn = threading.Lock()

    def recall(self, key: str) -> dict[str, Reply]:
        """Return the replies about an image, by question."""
        with self._turn:
            return dict(self._replies.get(key, {}))

    def learn(self, key: str, replies: Mapping[str, Reply]) -> None:
        """Add replies about an image, and forget the one that was asked about longest ago."""
        with self._turn:
            self._replies.setdefault(key, {}).update(replies)
            self._replies.move_to_end(key)
            if len(self._replies) > _REMEMBERED:
                self._replies.popitem(last=False)


class Sparing:
    """An engine for one batch of rows: known replies are taken, equal images share theirs."""

    def __init__(self, engine: Engine, rows: Sequence[KeyedRow], memory: Memory) -> None:
        """`memory` is that of earlier batches, and keeps what is asked here."""
        self._engine = engine
        self._memory = memory
        self._keys = {row["name"]: row.get("key", "") for row in rows}
        self._said: dict[str, dict[str, Reply]] = {}
        for row in rows:
            said = self._said.setdefault(row.get("key", ""), {})
            said.update(memory.recall(row.get("key", "")))
            for one in row.get("known", ()):
                if (reply := read_reply(one)) is not None:
                    said[one["question"]] = reply
        self._asked: dict[str, list[str]] = {}
        self._wanted: dict[str, int] = {}

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[Reply] | ValueError]:
        """See `Engine`. An image of which nothing is unknown is not shown to the engine."""
        self._wanted = dict(zip(names, map(len, questions), strict=True))
        self._asked = self._unknown(questions, names)
        at = [index for index, name in enumerate(names) if self._asked[name]]
        texts = [self._asked[names[index]] for index in at]
        failed: dict[str, ValueError] = {}
        if at:
            found = self._engine.answer(
                [images[index] for index in at], texts, names=[names[index] for index in at]
            )
            for index, asked, replies in zip(at, texts, found, strict=True):
                key = self._keys[names[index]]
                if isinstance(replies, ValueError):
                    failed[key] = replies
                else:
                    self._learn(key, dict(zip(asked, replies, strict=True)))
        return [
            self._replies(self._keys[name], texts, failed)
            for name, texts in zip(names, questions, strict=True)
        ]

    def notes(self, name: str) -> dict[str, Any]:
        """Return what a block notes of an image; see `types.NOTES`."""
        key = self._keys[name]
        asked = [reply_row(text, self._said[key][text]) for text in self._asked[name]]
        return {"key": key, "asked": asked, "taken": self._wanted[name] - len(asked)}

    def _unknown(
        self, questions: Sequence[Sequence[str]], names: Sequence[str]
    ) -> dict[str, list[str]]:
        """Return the questions about each image that no reply is known to, nor asked before it."""
        seen = {key: set(said) for key, said in self._said.items()}
        unknown: dict[str, list[str]] = {}
        for name, texts in zip(names, questions, strict=True):
            known = seen[self._keys[name]]
            unknown[name] = [text for text in dict.fromkeys(texts) if text not in known]
            known.update(unknown[name])
        return unknown

    def _learn(self, key: str, replies: dict[str, Reply]) -> None:
        self._said[key].update(replies)
        self._memory.learn(key, replies)

    def _replies(
        self, key: str, texts: Sequence[str], failed: dict[str, ValueError]
    ) -> list[Reply] | ValueError:
        said = self._said[key]
        return failed[key] if any(text not in said for text in texts) else [said[t] for t in texts]
