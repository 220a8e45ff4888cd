"""The text corpus: answers about each image, the texts of its pairs, and their CLIP features.

Reads `images`; writes `corpus`, `pairs` and `texts`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from qaclims_ray.artifacts import Artifact, Built, artifact, class_names, make
from qaclims_ray.attempts import Attempt
from qaclims_ray.compute import start
from qaclims_ray.config import Experiment, resolve
from qaclims_ray.corpus.ask import answer_all
from qaclims_ray.corpus.engines import build_engine
from qaclims_ray.corpus.features import embed_texts
from qaclims_ray.corpus.texts import pairs_of, texts_of
from qaclims_ray.data.stage import map_rows, publish_all
from qaclims_ray.model.clip import load_clip
from qaclims_ray.sections import Questions
from qaclims_ray.storage import atomic_open
from qaclims_ray.tables import dataset
from qaclims_ray.types import SCHEMAS, TextRow


class Answerer:
    """Ray Data actor: one VQA engine on one device; image rows in, corpus rows out."""

    def __init__(
        self,
        engine: dict[str, Any],
        questions: dict[str, Any],
        class_names: Sequence[str],
        max_pixels: int,
        target: Artifact,
        max_errors: int,
    ) -> None:
        self._attempt = Attempt(target, max_errors)
        self._answer = partial(
            answer_all,
            engine=build_engine(engine, _device()),
            class_names=class_names,
            templates=Questions.model_validate(questions),
            max_pixels=max_pixels,
        )

    def __call__(self, images: pa.Table) -> pa.Table:
        """Answer all questions about a batch of images."""
        return self._attempt(images.to_pylist(), self._answer)


class Embedder:
    """Ray Data actor: the text tower of CLIP on one device; texts in, features out."""

    def __init__(
        self,
        model: str,
        pretrained: str | None,
        template: str,
        batch_size: int,
        target: Artifact,
        max_errors: int,
    ) -> None:
        self._clip = load_clip(resolve(model), pretrained).to(_device())
        self._template = template
        self._batch_size = batch_size
        self._attempt = Attempt(target, max_errors)

    def __call__(self, texts: pa.Table) -> pa.Table:
        """Embed a batch of texts."""
        return self._attempt(texts.to_pylist(), self._embed)

    def _embed(self, rows: Sequence[TextRow]) -> list[TextRow]:
        texts = [row["text"] for row in rows]
        features = embed_texts(
            self._clip, texts, template=self._template, batch_size=self._batch_size
        )
        return [
            TextRow(text=text, feature=feature)
            for text, feature in zip(texts, features.float().tolist(), strict=True)
        ]


def run(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Write the artifact `corpus` and return its summary line."""
    return make(experiment, "corpus", partial(_ask, experiment), overwrite)


def run_texts(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Write the artifacts `pairs` and `texts` and return their summary lines."""
    lines = [
        make(experiment, "pairs", partial(_pair, experiment), overwrite),
        make(experiment, "texts", partial(_embed, experiment), overwrite),
    ]
    return "\n".join(lines)


def _ask(experiment: Experiment, target: Artifact) -> Built:
    images = artifact(experiment, "images")
    num_images = images.require()["rows"]
    start(experiment.compute)
    map_rows(
        images.shards(),
        ["name", "image", "labels"],
        target,
        Answerer,
        {
            "engine": experiment.corpus.engine.model_dump(),
            "questions": experiment.corpus.questions.model_dump(),
            "class_names": class_names(images),
            "max_pixels": experiment.data.max_pixels,
            "target": target,
            "max_errors": experiment.data.max_errors,
        },
        experiment.compute.corpus,
        "compute.corpus",
        expected=num_images,
    )
    rows, errors = publish_all(experiment, target, num_images)
    return Built(rows, errors, {})


def _pair(experiment: Experiment, target: Artifact) -> Built:
    """One shard of pairs for each shard of the corpus, as nothing but strings is worked on."""
    corpus = artifact(experiment, "corpus")
    num_rows = corpus.require()["rows"]
    names = class_names(artifact(experiment, "images"))
    texts = set(names)
    for number, fragment in enumerate(dataset(corpus).get_fragments()):
        rows = [pairs_of(row, names, experiment.corpus) for row in fragment.to_table().to_pylist()]
        texts |= texts_of(rows)
        with atomic_open(f"{target.uri}/part-{number:05d}.parquet") as file:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMAS["pairs"]), file)
    return Built(num_rows, 0, {"texts": sorted(texts)})


def _embed(experiment: Experiment, target: Artifact) -> Built:
    texts: list[str] = artifact(experiment, "pairs").require()["facts"]["texts"]
    start(experiment.compute)
    listed = f"{target.work}/listing/part-00000.parquet"
    with atomic_open(listed) as file:
        pq.write_table(pa.table({"text": texts}), file)
    clip = experiment.model.clip
    map_rows(
        [listed],
        ["text"],
        target,
        Embedder,
        {
            "model": clip.model,
            "pretrained": clip.pretrained,
            "template": experiment.corpus.texts.template,
            "batch_size": experiment.compute.texts.batch_size,
            "target": target,
            "max_errors": experiment.data.max_errors,
        },
        experiment.compute.texts,
        "compute.texts",
        expected=len(texts),
    )
    rows, errors = publish_all(experiment, target, len(texts))
    return Built(rows, errors, {})


def _device() -> str:
    """The GPU that Ray gave this actor, if it gave one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
