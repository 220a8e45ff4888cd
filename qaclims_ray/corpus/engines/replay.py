"""Visual question answering by looking up what was answered before."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import pyarrow.dataset as pads

from qaclims_ray.config.corpus import Replay
from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.corpus.published import answers_by_question, read_published
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import dataset
from qaclims_ray.storage.filesystem import patiently
from qaclims_ray.storage.paths import absolute

Answers: TypeAlias = Mapping[str, str]
"""Answers about one image, as generated, by question (class name filled in)."""
LookUp: TypeAlias = Callable[[Sequence[str]], Mapping[str, Answers]]
"""Finds the answers about images by their names; unknown images are left out."""


class ReplayEngine:
    """Answers of an existing corpus, found by image name and question.

    Raises:
        ValueError: there is no complete corpus.
    """

    def __init__(self, section: Replay) -> None:
        self._corpus = section.corpus
        self._look_up = (
            _in_artifact(section.corpus)
            if isinstance(section.corpus, str)
            else _in_files(*section.corpus)
        )

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[str]]:
        """See `Engine`. Raises ValueError for an image or question that the corpus lacks."""
        known = self._look_up(names)
        for name, asked in zip(names, questions, strict=True):
            if name not in known:
                raise ValueError(f"the corpus {self._corpus} has no image {name!r}")
            for question in asked:
                if question not in known[name]:
                    raise ValueError(
                        f"the corpus {self._corpus} has no answer to {question!r} about image "
                        f"{name!r}: ask as it was asked then (corpus.questions), with the same "
                        "class names"
                    )
        return [
            [known[name][question] for question in asked]
            for name, asked in zip(names, questions, strict=True)
        ]


def _in_artifact(uri: str) -> LookUp:
    """Look answers up in a complete artifact: only row groups that may hold the names are read."""
    artifact = Artifact("corpus", absolute(uri), {})
    manifest = artifact.manifest()
    if manifest is None or manifest["artifact"] != "corpus":
        raise ValueError(
            f"{uri} is no complete corpus: give the folder of that artifact, which ends in /corpus"
        )
    rows = dataset(artifact)
    name = pads.field("name")

    def look_up(names: Sequence[str]) -> dict[str, Answers]:
        """Read the rows of some images."""
        # The range prunes row groups by their statistics.
        wanted = (name >= min(names)) & (name <= max(names)) & name.isin(list(names))
        found = patiently(lambda: rows.to_table(filter=wanted), uri).to_pylist()
        return {
            row["name"]: {answer["question"]: answer["answer"] for answer in row["answers"]}
            for row in found
        }

    return look_up


def _in_files(foreground_file: str, background_file: str) -> LookUp:
    """Look answers up in the published pair of files, which are held in memory."""
    foreground, background = read_published(foreground_file), read_published(background_file)
    return lambda names: {
        name: {**answers_by_question(foreground, name), **answers_by_question(background, name)}
        for name in names
        if name in foreground and name in background
    }
