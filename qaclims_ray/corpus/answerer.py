"""The actor that asks: images in, rows of the corpus out."""

from collections.abc import Sequence
from functools import lru_cache, partial

import pyarrow as pa
import torch

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.ask import answer_all
from qaclims_ray.corpus.engines.build import build_engine
from qaclims_ray.corpus.engines.sparing import KeyedRow, Memory, Sparing
from qaclims_ray.corpus.lemmas import Lemmatise, lemma
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.tables import Rows

_REMEMBERED = 2**16
"""Answers whose lemmas an actor remembers: most are said many times."""


class Answerer:
    """Ray Data actor: one VQA engine; rows that `corpus.prepare` made in, corpus rows out.

    Two threads may call it, with a batch each; the engine sees to it that its device has one.
    """

    def __init__(
        self,
        experiment: Experiment,
        class_names: Sequence[str],
        target: Artifact,
        lemmatise: Lemmatise = lemma,
    ) -> None:
        corpus, pool = experiment.corpus, experiment.compute.corpus
        self._map = IsolatedMap(target, experiment.data.max_errors)
        self._engine = build_engine(
            corpus.engine,
            device=own_device(),
            num_gpus=pool.num_gpus,
            trust_remote_code=experiment.model.trust_remote_code,
        )
        self._memory = Memory()
        self._answer = partial(
            answer_all,
            class_names=class_names,
            questions=corpus.questions,
            lemmatise=lru_cache(_REMEMBERED)(lemmatise),
        )

    def __call__(self, images: pa.Table) -> pa.Table:
        """Answer all questions about a batch of images."""
        keeps = "key" in images.column_names
        plain = partial(self._answer, engine=self._engine)
        return self._map(images.to_pylist(), self._sparing if keeps else plain)

    def _sparing(self, rows: Sequence[KeyedRow]) -> Rows:
        """Ask what is not known, and note what was asked."""
        engine = Sparing(self._engine, rows, self._memory)
        made = self._answer(rows, engine=engine)
        return [row if "error" in row else {**row, **engine.notes(row["name"])} for row in made]


def own_device() -> str:
    """Return the GPU that Ray gave this actor, if it gave one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
