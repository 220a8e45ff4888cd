"""Visual question answering by looking up what was answered before."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import pyarrow.dataset as pads

from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.corpus.published import read_published, told
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import dataset
from qaclims_ray.storage.filesystem import patiently
from qaclims_ray.storage.paths import absolute

Told: TypeAlias = Mapping[str, str]
"""Question, class name filled in -> answer as generated; of one image."""
LookUp: TypeAlias = Callable[[Sequence[str]], Mapping[str, Told]]
"""Names of images -> what was told about each of them that is known."""


class ReplayEngine:
    """Answers of an existing corpus, found by image name and question.

    Args:
        corpus: Folder or URL of a complete artifact `corpus`; or the published pair of files,
            foregrounds first.

    Raises:
        ValueError: there is no complete corpus.
    """

    def __init__(self, corpus: str | tuple[str, str]) -> None:
        self._corpus = corpus
        self._look_up = _in_artifact(corpus) if isinstance(corpus, str) else _in_files(*corpus)

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[str]]:
        """See `vqa.Engine`. Raises ValueError for an image or question that the corpus lacks."""
        known = self._look_up(names)
        return [
            [self._told(known, name, question) for question in asked]
            for name, asked in zip(names, questions, strict=True)
        ]

    def _told(self, known: Mapping[str, Told], name: str, question: str) -> str:
        if name not in known:
            raise ValueError(f"the corpus {self._corpus} has no image {name!r}")
        if question not in known[name]:
            raise ValueError(
                f"the corpus {self._corpus} has no answer to {question!r} about image {name!r}: "
                "ask as it was asked then (corpus.questions), with the same class names"
            )
        return known[name][question]


def _in_artifact(uri: str) -> LookUp:
    """Reads the row groups in which names lie, which are sorted."""
    artifact = Artifact("corpus", absolute(uri), {})
    manifest = artifact.manifest()
    if manifest is None or manifest["artifact"] != "corpus":
        raise ValueError(
            f"{uri} is no complete corpus: give the folder of that artifact, which ends in /corpus"
        )
    rows = dataset(artifact)
    name = pads.field("name")

    def look_up(names: Sequence[str]) -> dict[str, Told]:
        # The range prunes row groups by their statistics.
        wanted = (name >= min(names)) & (name <= max(names)) & name.isin(list(names))
        found = patiently(lambda: rows.to_table(filter=wanted), uri).to_pylist()
        return {
            row["name"]: {answer["question"]: answer["answer"] for answer in row["answers"]}
            for row in found
        }

    return look_up


def _in_files(foreground_file: str, background_file: str) -> LookUp:
    foreground, background = read_published(foreground_file), read_published(background_file)

    def look_up(names: Sequence[str]) -> dict[str, Told]:
        return {
            name: {**told(foreground, name), **told(background, name)}
            for name in names
            if name in foreground and name in background
        }

    return look_up
