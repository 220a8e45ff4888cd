"""Answers kept by what was asked: the bytes of an image, a question, an engine and its settings.

    <cache>/<first>-<last>-<digest>.parquet    one row a reply, sorted by key

A key is a digest of an image's bytes and the settings. Names of files tell the range of their keys
(the first digits) and the digest of their content: files are only ever added, so that runs that
share a cache neither wait for each other nor lose anything. Each writing run adds files whose
ranges follow one another: a look-up reads one row group for each run that knows an image.

Kept is whatever the model said: a refusal, too, would be said again. Not kept are images that
failed, of which no question was answered.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias, get_args

import pyarrow as pa

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.answers import Fault, NoAnswer, Reply
from qaclims_ray.run.recipe import recipe
from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.filesystem import patiently
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import SortedFile
from qaclims_ray.storage.paths import absolute, shown
from qaclims_ray.types import REPLY_FIELDS

Replies: TypeAlias = Mapping[str, Reply]
"""What was said about one image, by question."""

SCHEMA = pa.schema([pa.field("key", pa.string()), *REPLY_FIELDS])
DIGITS = 8
"""Hexadecimal digits of a key that the name of a file shows."""

_FOLDER = "answers"
_VERSION = 1
"""Version of our reading of replies: raise it where `corpus.answers` reads a text otherwise."""
_LOOKS_UP = ("table", "replay")
_NAME = re.compile(rf"/([0-9a-f]{{{DIGITS}}})-([0-9a-f]{{{DIGITS}}})-[0-9a-f]+\.parquet$")
_OPEN = 64
"""Files whose footers a process remembers."""


class CachedFile(NamedTuple):
    """A file of a cache, and the first digits of its least and greatest key."""

    first: str
    last: str
    uri: str


class AnswerCache(NamedTuple):
    """A cache as it is at some time, for one engine with its settings; goes to other processes."""

    settings: str
    files: Sequence[CachedFile]
    complaints: str
    """Folder to say in which file is damaged."""

    def key(self, image: bytes | pa.Buffer) -> str:
        """Return the key of an image's bytes."""
        return blake2b(image, key=self.settings.encode(), digest_size=16).hexdigest()

    def look_up(self, keys: Collection[str]) -> dict[str, dict[str, Reply]]:
        """Return the replies about images by key and question; where two differ, one of them.

        A file that cannot be read costs no more than asking again.
        """
        found: dict[str, dict[str, Reply]] = {}
        for file in self.files:
            wanted = sorted(key for key in keys if file.first <= key[:DIGITS] <= file.last)
            for key, question, reply in self._read(file.uri, wanted):
                found.setdefault(key, {}).setdefault(question, reply)
        return found

    def _read(self, uri: str, keys: Sequence[str]) -> Iterator[tuple[str, str, Reply]]:
        try:
            rows = patiently(lambda: _open(uri).look_up(keys), uri).to_pylist() if keys else []
        except (OSError, ValueError) as error:
            _complain(self.complaints, uri, str(error))
            return
        for row in rows:
            reply = read_reply(row)
            if row["question"] is not None and reply is not None:
                yield row["key"], row["question"], reply


def read_reply(row: Mapping[str, Any]) -> Reply | None:
    """Return the reply in a row of `REPLY_FIELDS`; None where it holds none."""
    if row["answer"] is not None:
        return row["answer"]
    if row["fault"] in get_args(Fault):
        return NoAnswer(row["fault"], row["text"] or "")
    return None


def reply_row(question: str, reply: Reply) -> dict[str, str | None]:
    """Return the row of `REPLY_FIELDS` of a reply."""
    if isinstance(reply, NoAnswer):
        return {"question": question, "answer": None, **reply._asdict()}
    return {"question": question, "answer": reply, "fault": None, "text": None}


@lru_cache(maxsize=_OPEN)
def _open(uri: str) -> SortedFile:
    return SortedFile(uri, SCHEMA)


@lru_cache
def _complain(folder: str, uri: str, reason: str) -> None:
    """Say that a file is damaged, once a process, where the driver finds it."""
    name = blake2b(uri.encode(), digest_size=8).hexdigest()
    write_json(f"{folder}/{name}.json", f"{shown(uri)} is damaged, remove it: {reason}")


def settings_of(experiment: Experiment) -> str | None:
    """Digest what decides an engine's answers; None: it looks them up, and nothing is kept."""
    if experiment.corpus.engine.kind in _LOOKS_UP:
        return None
    decides = {
        key: value
        for key, value in recipe(experiment, "corpus").items()
        if key.startswith("corpus.engine.")
    }
    content = json.dumps([_VERSION, decides], sort_keys=True)
    return blake2b(content.encode(), digest_size=16).hexdigest()


def cache_uri(experiment: Experiment) -> str:
    """Return the folder that a run keeps answers in."""
    own = experiment.corpus.cache
    return f"{absolute(experiment.run)}/{_FOLDER}" if own is None else absolute(own)


def open_cache(experiment: Experiment, complaints: str) -> AnswerCache | None:
    """List what is in a run's cache, and in those of its base runs; None: nothing is kept.

    Args:
        experiment: The run.
        complaints: See `AnswerCache`.
    """
    settings = settings_of(experiment)
    folders = [cache_uri(experiment), *(f"{absolute(one)}/{_FOLDER}" for one in experiment.base)]
    if settings is None:
        return None
    listed = [uri for folder in dict.fromkeys(folders) for uri in find(f"{folder}/*.parquet")]
    named = [(_NAME.search(uri), uri) for uri in listed]
    files = [CachedFile(name[1], name[2], uri) for name, uri in named if name is not None]
    return AnswerCache(settings, files, complaints)
