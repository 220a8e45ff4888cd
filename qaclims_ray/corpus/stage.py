"""The text corpus: answers about each image, the texts of its pairs, and their CLIP features.

Reads `images`; writes `corpus`, `pairs` and `texts`, and for CAMs of a CLIP `cam_texts`.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.cluster.tasks import as_they_end, on_all_cpus, together
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.corpus.answerer import Answerer, own_device
from qaclims_ray.corpus.ask import count_questions
from qaclims_ray.corpus.cache import cache_uri, open_cache, settings_of
from qaclims_ray.corpus.engines.build import image_fit
from qaclims_ray.corpus.keep import keep
from qaclims_ray.corpus.lemmas import lemma, read_wordnet
from qaclims_ray.corpus.pair_shards import pair_shard, shards_side_by_side
from qaclims_ray.corpus.prepare import prepare
from qaclims_ray.corpus.stats.replies import count_replies, warning
from qaclims_ray.model.clip_words import BACKGROUND_WORDS
from qaclims_ray.run.artifact import WORK, Artifact, artifact
from qaclims_ray.run.blocks import PendingBlocks, reopen
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import inputs_of, is_needed
from qaclims_ray.run.images import class_names
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import batches_of, read_errors
from qaclims_ray.storage.files import read_json
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from qaclims_ray.types import TextRow

log = logging.getLogger(__name__)

_FEW = 2**15
"""Rows that are paired sooner than Ray starts its tasks."""
_TEXTS = "texts.parquet"
"""File of the artifact `pairs` that lists the unique texts of all pairs, and the class names."""


class Embedder:
    """Ray Data actor: the text tower of CLIP on one device; texts in, features out.

    `texts` are for the CLIP that judges regions, `cam_texts` for the one that makes CAMs.
    """

    def __init__(self, experiment: Experiment, target: Artifact) -> None:
        from qaclims_ray.corpus.features import embed_texts
        from qaclims_ray.model.clip_files import load_clip  # the answering actors need no CLIP

        section, template = experiment.model.clip, experiment.corpus.texts.template
        if target.name == "cam_texts":
            section, template = experiment.cams.clip, experiment.cams.clip.template
        self._map = IsolatedMap(target, experiment.data.max_errors)
        self._embed = partial(
            embed_texts,
            load_clip(
                resolve(section.model),
                section.pretrained,
                trust_remote_code=experiment.model.trust_remote_code,
            ).to(own_device()),
            template=template,
            batch_size=experiment.compute.texts.batch_size,
        )

    def __call__(self, texts: pa.Table) -> pa.Table:
        """Embed a batch of texts."""
        return self._map(texts.to_pylist(), self._rows)

    def _rows(self, rows: Sequence[TextRow]) -> list[TextRow]:
        texts = [row["text"] for row in rows]
        features = self._embed(texts=texts).float().tolist()
        return [
            TextRow(text=text, feature=feature)
            for text, feature in zip(texts, features, strict=True)
        ]


def run(
    experiment: Experiment,
    name: str = "corpus",
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> str:
    """Write `corpus`, `pairs`, `texts` or `cam_texts`; return the summary line.

    Args:
        experiment: The run.
        name: Which.
        overwrite: Make it anew.
        retry_errors: Where it is complete, ask again about the images that failed.
    """
    build = {"corpus": _ask, "pairs": _pair, "texts": _embed, "cam_texts": _embed_cam_texts}[name]
    return make(
        experiment,
        name,
        partial(build, experiment),
        overwrite,
        reopen if retry_errors else None,
        rescue=partial(_keep, experiment) if name == "corpus" else None,
    )


def run_texts(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Write the artifacts of `text_artifacts` and return their summary lines."""
    names = text_artifacts(experiment)
    return "\n".join(run(experiment, name, overwrite=overwrite) for name in names)


def text_artifacts(experiment: Experiment) -> list[str]:
    """Return the artifacts of texts and their features that the configuration makes use of."""
    return [one for one in ("pairs", "texts", "cam_texts") if is_needed(experiment, one)]


def _ask(experiment: Experiment, target: Artifact) -> Built:
    images = artifact(experiment, "images")
    num_images, wordnet = images.require()["rows"], experiment.corpus.wordnet
    start(experiment.compute)
    names, complaints = class_names(images), f"{target.work}/complaints"
    map_actor(
        experiment,
        target,
        partial(
            Answerer,
            experiment=experiment,
            class_names=names,
            target=target,
            lemmatise=lemma if wordnet is None else read_wordnet(wordnet),
        ),
        shards=images.shards(),
        columns=["name", "image", "labels"],
        expected=num_images,
        overlaps=True,
        prepare=partial(
            prepare,
            max_pixels=experiment.data.max_pixels,
            fit=image_fit(experiment.corpus.engine),
            class_names=names,
            questions=experiment.corpus.questions,
            cache=open_cache(experiment, complaints),
        ),
        parts="answers",
    )
    for complaint in find(f"{complaints}/*.json"):
        log.warning("corpus.cache: %s", read_json(complaint))
    rows, errors = publish_all(experiment, target, num_images)
    counts = count_questions(
        batches_of(images, ["name", "labels"]),
        read_errors(target)["name"],
        count_replies(batches_of(target, ["answers", "unanswered"])),
        experiment.corpus.questions,
    )
    if (few := warning(counts)) is not None:
        log.warning(few)
    answers, note = (counts["answers"], "answers"), _keep(experiment, target)
    return Built(rows, errors, {**counts}, answers, note)


def _keep(experiment: Experiment, target: Artifact) -> str:
    """Keep what was asked in unfinished work, of whatever recipe; say how much was not asked."""
    blocks = find(f"{target.uri}/{WORK}/*/rows/*.parquet")
    if settings_of(experiment) is None or not blocks:
        return ""
    cache, scratch = cache_uri(experiment), f"{target.work}/keep"
    in_tasks = partial(_in_tasks, experiment)
    taken = keep(blocks, experiment.compute.corpus.block_rows, cache, scratch, in_tasks)
    return f"{taken:,} replies known before and not asked for again ({cache})" if taken else ""


def _in_tasks(
    experiment: Experiment, work: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Carry out calls in tasks of Ray; a single one here."""
    if len(calls) <= 1:
        return [work(*call) for call in calls]
    start(experiment.compute)
    return together(work, calls, {"CPU": 1, "GPU": 0}, len(calls), "answers to keep")


def _pair(experiment: Experiment, target: Artifact) -> Built:
    """Write one shard of pairs for each shard of the corpus; of few rows here, else by tasks."""
    corpus, images = artifact(experiment, "corpus"), artifact(experiment, "images")
    num_rows, names = corpus.require()["rows"], class_names(images)
    calls = [
        (experiment.corpus, names, *both, f"{target.uri}/part-{number:05d}.parquet")
        for number, both in enumerate(shards_side_by_side(corpus, images))
    ]
    if num_rows > _FEW:
        start(experiment.compute)
        ended = as_they_end(pair_shard, calls, **on_all_cpus(), label="pairs", num_calls=len(calls))
        found = (some for _, some in ended)
    else:
        found = (pair_shard(*call) for call in calls)
    texts = set(names)
    for some in found:
        texts.update(some)
    write_parquet(pa.table({"text": sorted(texts)}), f"{target.uri}/{_TEXTS}")
    return Built(num_rows, 0, {"texts": len(texts)})


def _embed(experiment: Experiment, target: Artifact) -> Built:
    pairs = artifact(experiment, "pairs")
    return _embed_listed(experiment, target, f"{pairs.uri}/{_TEXTS}", pairs.fact("texts"))


def _embed_cam_texts(experiment: Experiment, target: Artifact) -> Built:
    """Embed the texts of all pairs, or the class names alone, and the fixed background words."""
    inputs = {name: artifact(experiment, name) for name in inputs_of(experiment, target.name)}
    for one in inputs.values():
        one.require()
    if "pairs" in inputs:
        listed = pa.schema([("text", pa.string())])
        rows = read_parquet(f"{inputs['pairs'].uri}/{_TEXTS}", listed)
        texts: set[str] = set(rows["text"].to_pylist())
    else:
        texts = set(class_names(inputs["images"]))
    texts |= set(experiment.cams.clip.background_words or BACKGROUND_WORDS)
    listing = PendingBlocks(target).listing
    write_parquet(pa.table({"text": sorted(texts)}), listing)
    return _embed_listed(experiment, target, listing, len(texts))


def _embed_listed(experiment: Experiment, target: Artifact, listing: str, num_texts: int) -> Built:
    start(experiment.compute)
    map_actor(
        experiment,
        target,
        partial(Embedder, experiment=experiment, target=target),
        shards=[listing],
        columns=["text"],
        expected=num_texts,
    )
    rows, errors = publish_all(experiment, target, num_texts)
    return Built(rows, errors, {})
