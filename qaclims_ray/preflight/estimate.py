"""How much work an artifact is, and how much it writes: for who waits for it, and for the disk."""

import math
from typing import NamedTuple, cast

from qaclims_ray.config.corpus import Blip
from qaclims_ray.config.data import Demo
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.engines.blip_memory import USUAL
from qaclims_ray.ingest import coco14
from qaclims_ray.ingest.facts import Facts, published_counts
from qaclims_ray.preflight.networks import sizes
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, data_of, images_of, inputs_of
from qaclims_ray.storage.files import size
from qaclims_ray.train.task import images_per_step, num_steps, settings

_ANSWER_BYTES = 40
"""Bytes of an answer in Parquet; questions repeat, and compress to next to nothing."""
_VIEWS = 2
"""Views of an image at each scale: itself and its mirror image."""


class Counts(NamedTuple):
    """What is known of the images: from `images`, or before it is made from what is published."""

    images: int | None
    pairs: int | None
    num_bytes: int
    """Size of `images`; 0 where it is not made yet."""
    height: int = 0
    """Median, in pixels, as networks see the images; 0: not known yet."""
    width: int = 0
    classes: int = 20
    """As many as VOC has, until it is known."""
    pixels: int = 0
    """Pixels of the largest image as networks see it; 0: not known yet."""


class Work(NamedTuple):
    """What one artifact takes."""

    line: str
    """What people read of it."""
    num_bytes: int = 0
    """BlockProgress to the run, unfinished work included; 0: next to nothing, or not known."""


def count(experiment: Experiment) -> Counts:
    """What is known of the images of a run."""
    images = artifact(experiment, "images")
    manifest = images.manifest()
    if manifest is None:
        return _expected(experiment)
    facts, side = cast(Facts, manifest["facts"]), experiment.data.max_side or 0
    (_, height, tallest), (_, width, widest) = facts["height"], facts["width"]
    scale = min(1.0, side / max(height, width, 1)) if side else 1.0
    # Images of before have no `pixels`: none has more than this.
    pixels = facts.get("pixels", (0, 0, tallest * widest))[2]
    return Counts(
        images=facts["num_images"],
        pairs=facts["num_pairs"],
        num_bytes=sum(size(shard) for shard in images.shards()),
        height=round(height * scale),
        width=round(width * scale),
        classes=len(facts["class_names"]),
        pixels=min(pixels, side * side) if side else pixels,
    )


def _expected(experiment: Experiment) -> Counts:
    data = experiment.data
    is_own = getattr(data, "annotations", None) is not None
    images, pairs = published_counts(data.kind, None if is_own else getattr(data, "split", None))
    if isinstance(data, Demo):
        images = data.num_images
    if data.limit is not None:
        images, pairs = data.limit if images is None else min(images, data.limit), None
    is_coco = data.kind == "coco14" and not is_own
    names = coco14.CLASSES if is_coco else getattr(data, "class_names", None)
    return Counts(images, pairs, 0) if names is None else Counts(images, pairs, 0, 0, 0, len(names))


def estimate(experiment: Experiment, name: str, counts: Counts) -> Work:
    """The work that the artifact `name` takes."""
    if images_of(name) != "images":
        return Work(f"{name}: {data_of(experiment, name).kind}, size not known before it is listed")
    images = _number(counts.images, "images")
    match ARTIFACTS[name].kind:
        case "corpus":
            return _answers(experiment, counts)
        case "network":
            return _training(experiment, name, counts)
        case "cams":
            return _cams(experiment, name, counts)
        case "scores":
            thresholds = len(experiment.evaluate.thresholds)
            of_cams = ARTIFACTS[ARTIFACTS[name].of or name].kind == "cams"
            return Work(f"{name}: {images}{f' at {thresholds} thresholds' if of_cams else ''}")
        case "texts":
            clip = experiment.model.clip if name == "texts" else experiment.cams.clip
            answers = "answers" if "pairs" in inputs_of(experiment, name) else "classes"
            model = clip.model.rpartition("/")[2]
            return Work(f"{name}: the unique ones of the {answers}, through CLIP {model}")
        case _:
            return Work(f"{name}: {images}")


def _answers(experiment: Experiment, counts: Counts) -> Work:
    corpus = experiment.corpus
    asked = counts.pairs if corpus.questions.about == "class" else counts.images
    questions = None if asked is None else asked * corpus.questions.num_templates
    engine = getattr(corpus.engine, "model", "").rpartition("/")[2]
    line = (
        f"corpus: {_number(counts.images, 'images')}, {_number(questions, 'questions')} for "
        f"{' '.join(filter(None, (corpus.engine.kind, engine)))}{_at_once(experiment)}"
    )
    return Work(line, 2 * _ANSWER_BYTES * (questions or 0))


def _at_once(experiment: Experiment) -> str:
    """Say how many question tokens BLIP will take at once; on a GPU its actors find out."""
    engine, num_gpus = experiment.corpus.engine, experiment.compute.corpus.num_gpus
    if not isinstance(engine, Blip):
        return ""
    if engine.token_budget is None and num_gpus:
        share = f"half of the free memory of {min(1.0, num_gpus):g} of a GPU"
        return f", as many question tokens at once as {share} allows"
    return f", {engine.token_budget or USUAL:,} question tokens at once"


def _training(experiment: Experiment, name: str, counts: Counts) -> Work:
    per_step = images_per_step(experiment, name)
    steps = None if counts.images is None else num_steps(experiment, name, counts.images)
    epochs = settings(experiment, name).epochs
    line = f"{name}: {epochs} epochs, {_number(steps, 'steps')} of {per_step} images"
    try:
        model, checkpoint = sizes(experiment, name, counts.classes)
    except ValueError:
        return Work(line)  # `network_problems` says why there is no such network
    # One more checkpoint is written before the oldest is removed; the model is kept twice.
    kept = experiment.compute.train.keep_checkpoints + 1
    return Work(line, 2 * model + kept * checkpoint)


def _cams(experiment: Experiment, name: str, counts: Counts) -> Work:
    cams = experiment.cams
    side = 1 if cams.resolution == "full" else 4
    cells = math.ceil(counts.height / side) * math.ceil(counts.width / side)
    views, by = _VIEWS * len(cams.scales), ""
    if "cam_texts" in inputs_of(experiment, name):
        views = (1 + cams.clip.flip) * len(cams.clip.scales)
        by = f" by CLIP {cams.clip.model.rpartition('/')[2]}"
    times = "once" if views == 1 else f"{views} times"
    line = f"{name}: {_number(counts.images, 'images')}, each seen {times}{by}"
    # Of float16; unfinished blocks and the shards they become are there at the same time.
    return Work(line, 2 * 2 * cells * (counts.pairs or 0))


def _number(number: int | None, what: str) -> str:
    return what if number is None else f"{number:,} {what}"
