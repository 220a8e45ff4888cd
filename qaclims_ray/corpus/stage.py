"""The text corpus: answers about each image, the texts of its pairs, and their CLIP features.

Reads `images`; writes `corpus`, `pairs` and `texts`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import torch

from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.corpus import Questions
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.corpus.account import account
from qaclims_ray.corpus.ask import answer_all
from qaclims_ray.corpus.engines.build import build_engine
from qaclims_ray.corpus.features import embed_texts
from qaclims_ray.corpus.texts import pairs_of, texts_of
from qaclims_ray.corpus.vllm_stage import ask_prompts
from qaclims_ray.images.decoded import decode_table
from qaclims_ray.model.clip import load_clip
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.blocks import num_elements, reopen
from qaclims_ray.run.faults import Attempt
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import dataset, read_errors, read_table
from qaclims_ray.storage.parquet import write_parquet
from qaclims_ray.types import SCHEMAS, TextRow

_TEXTS = "texts.parquet"
"""File of the artifact `pairs` that lists the unique texts of all pairs, and the class names."""


class Answerer:
    """Ray Data actor: one VQA engine on one device; decoded rows in, corpus rows out."""

    def __init__(
        self,
        engine: dict[str, Any],
        questions: dict[str, Any],
        class_names: Sequence[str],
        target: Artifact,
        max_errors: int,
    ) -> None:
        self._attempt = Attempt(target, max_errors)
        self._answer = partial(
            answer_all,
            engine=build_engine(engine, _device()),
            class_names=class_names,
            templates=Questions.model_validate(questions),
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


def run(
    experiment: Experiment,
    name: str = "corpus",
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> str:
    """Write one of the artifacts `corpus`, `pairs` and `texts`; return its summary line.

    Args:
        experiment: The run.
        name: Which.
        overwrite: Make it anew.
        retry_errors: Where it is complete, ask again about the images that failed.

    Raises:
        ValueError: `retry_errors` with vLLM, whose unit of work is a question.
    """
    if retry_errors and experiment.corpus.engine.kind == "vllm":
        raise ValueError(
            "--retry-errors is not for corpus.engine.kind: vllm; make the corpus anew (--overwrite)"
        )
    again = reopen if retry_errors else None
    build = {"corpus": _ask, "pairs": _pair, "texts": _embed}[name]
    return make(experiment, name, partial(build, experiment), overwrite, again)


def run_texts(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Write the artifacts `pairs` and `texts` and return their summary lines."""
    return "\n".join(run(experiment, name, overwrite=overwrite) for name in ("pairs", "texts"))


def _ask(experiment: Experiment, target: Artifact) -> Built:
    images = artifact(experiment, "images")
    num_images = images.require()["rows"]
    start(experiment.compute)
    if experiment.corpus.engine.kind == "vllm":
        ask_prompts(experiment, images, target)
    else:
        _ask_images(experiment, images, target)
    rows, errors = publish_all(experiment, target, num_images)
    books = account(
        read_table(images, ["name", "labels"]),
        read_errors(target)["name"],
        num_elements(target.shards(), "answers"),
        experiment.corpus.questions,
    )
    return Built(rows, errors, {**books}, parts=(books["answers"], "answers"))


def _ask_images(experiment: Experiment, images: Artifact, target: Artifact) -> None:
    map_actor(
        experiment,
        target,
        Answerer,
        {
            "engine": experiment.corpus.engine.model_dump(),
            "questions": experiment.corpus.questions.model_dump(),
            "class_names": class_names(images),
            "target": target,
            "max_errors": experiment.data.max_errors,
        },
        shards=images.shards(),
        columns=["name", "image", "labels"],
        expected=images.require()["rows"],
        prepare=partial(decode_table, max_pixels=experiment.data.max_pixels),
        parts="answers",
    )


def _pair(experiment: Experiment, target: Artifact) -> Built:
    """One shard of pairs for each shard of the corpus, as nothing but strings is worked on."""
    corpus = artifact(experiment, "corpus")
    num_rows = corpus.require()["rows"]
    images = artifact(experiment, "images")
    names = class_names(images)
    labelled = _labels(images)
    texts = set(names)
    for number, fragment in enumerate(dataset(corpus).get_fragments()):
        # Both are sorted by name; images that failed have no row in the corpus.
        rows = [
            pairs_of(
                row,
                names,
                experiment.corpus,
                next(of for name, of in labelled if name == row["name"]),
            )
            for row in fragment.to_table().to_pylist()
        ]
        texts |= texts_of(rows)
        table = pa.Table.from_pylist(list(rows), schema=SCHEMAS["pairs"])
        write_parquet(table, f"{target.uri}/part-{number:05d}.parquet")
    write_parquet(pa.table({"text": sorted(texts)}), f"{target.uri}/{_TEXTS}")
    return Built(num_rows, 0, {"texts": len(texts)})


def _labels(images: Artifact) -> Iterator[tuple[str, list[int] | None]]:
    """Name and labels of each image, sorted by name; nothing else is read."""
    for batch in dataset(images).to_batches(columns=["name", "labels"]):
        yield from zip(batch["name"].to_pylist(), batch["labels"].to_pylist(), strict=True)


def _embed(experiment: Experiment, target: Artifact) -> Built:
    pairs = artifact(experiment, "pairs")
    num_texts: int = pairs.require()["facts"]["texts"]
    start(experiment.compute)
    clip = experiment.model.clip
    map_actor(
        experiment,
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
        shards=[f"{pairs.uri}/{_TEXTS}"],
        columns=["text"],
        expected=num_texts,
    )
    rows, errors = publish_all(experiment, target, num_texts)
    return Built(rows, errors, {})


def _device() -> str:
    """The GPU that Ray gave this actor, if it gave one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
