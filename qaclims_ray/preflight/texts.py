"""Whether CLIP tells the regions of a run's images by its texts, looked at on a few images.

Reads `images`, `pairs` and text features, and CAMs where there are some. Needs no Ray.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F
from typing_extensions import TypedDict

from qaclims_ray.cams.predict import ClipPredict, TextChooser, TextTable
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.images.cams import unpack_cams
from qaclims_ray.images.decode import decode
from qaclims_ray.model.clip import load_clip
from qaclims_ray.model.clip_vit import normalise_pixels
from qaclims_ray.model.text_check import ranking, region_features, text_distances, told_apart
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names, labelled
from qaclims_ray.run.tables import look_up
from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.paths import absolute
from qaclims_ray.storage.records import read_record
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD, SCHEMAS, CamRow, ImageRow

FAIR = 0.6
"""Share that is asked of a CLIP that is of use; chance is 0.5."""


class ClassCheck(TypedDict):
    """Figures of one class."""

    name: str
    images: int
    known: float | None
    """Probability that a region of the class is more similar to its name than one of another class;
    null where there is none of another."""
    told: float | None
    """Share of its CAMs whose inside the texts tell from the outside; null: none has both texts."""
    apart: float | None
    """1 less the cosine similarity of the class's text and background texts, mean."""


class Found(TypedDict):
    """Content of `check_texts.json`."""

    images: int
    classes: list[ClassCheck]


class Seen(NamedTuple):
    """One CAM of an image, as CLIP sees it."""

    label: int
    names: list[float]
    """Similarity of its inside to the name of each class."""
    told: bool | None
    """Whether its texts tell inside from outside; None without background texts, as `apart`."""
    apart: float | None
    """Distance of the class's text from the background texts."""


def run(experiment: Experiment, *, num_images: int = 50) -> str:
    """Write `<run>/check_texts/check_texts.json`; return a table and what it tells to do.

    Args:
        experiment: The run; its texts are complete, and CAMs too unless `cams.kind: clip`.
        num_images: How many images are looked at, such that every class has some.

    Raises:
        ValueError: texts or CAMs are not made yet.
    """
    names = class_names(artifact(experiment, "images"))
    rows = choose_rows(artifact(experiment, "images"), num_images)
    checks = check_classes(_look(experiment, rows, names), names)
    uri = _uri(experiment)
    write_json(uri, Found(images=len(rows), classes=checks))
    return f"{text(checks)}\n\ncheck_texts: {len(rows)} images · {uri}"


def found(experiment: Experiment) -> Found | None:
    """Read what was found when a run's texts were last looked at; None: they were not yet."""
    return read_record(_uri(experiment), Found)


def _uri(experiment: Experiment) -> str:
    return f"{absolute(experiment.run)}/check_texts/check_texts.json"


def choose_rows(images: Artifact, num_images: int) -> list[ImageRow]:
    """Choose images with labels, class after class in turn, sorted by name."""
    listed = labelled(images).to_table(columns=["name", "labels"]).to_pylist()
    by_class: dict[int, list[str]] = {}
    for row in listed:
        for label in row["labels"]:
            by_class.setdefault(label, []).append(row["name"])
    turns = zip_longest(*by_class.values())
    names = dict.fromkeys(name for turn in turns for name in turn if name is not None)
    return look_up(images, list(names)[:num_images], SCHEMAS["images"].names).to_pylist()


def check_classes(seen: Sequence[Seen], names: Sequence[str]) -> list[ClassCheck]:
    """Count for each class what CLIP saw of it; a class without a CAM is left out."""
    labels = torch.tensor([one.label for one in seen])
    scores = torch.tensor([one.names for one in seen])
    return [
        ClassCheck(
            name=name,
            images=int((labels == label).sum()),
            known=ranking(scores[:, label], labels == label),
            told=_mean([one.told for one in seen if one.label == label]),
            apart=_mean([one.apart for one in seen if one.label == label]),
        )
        for label, name in enumerate(names)
        if (labels == label).any()
    ]


def _mean(values: Sequence[bool | float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def text(checks: Sequence[ClassCheck]) -> str:
    """Format the figures as a table, and advice on the classes that CLIP is of little use for."""
    lines = [f"{'class':<24}{'images':>8}{'known, %':>10}{'told, %':>10}{'apart':>8}"]
    for check in checks:
        shares = "".join(f"{_percent(check[key]):>10}" for key in ("known", "told"))
        apart = "n/a" if check["apart"] is None else f"{check['apart']:.2f}"
        lines.append(f"{check['name']:<24}{check['images']:>8}{shares}{apart:>8}")
    lines += [
        "known: a region of the class is more similar to its name than one of another class; told:",
        "texts tell the inside of a CAM from its outside; 50 % is chance in both. apart: distance",
        "of the class's text from the background texts.",
    ]
    return "\n".join([*lines, *advice(checks)])


def advice(checks: Sequence[ClassCheck]) -> list[str]:
    """Say which classes CLIP is of little use for, and what to change."""
    unknown = _below(checks, "known")
    told = [name for name in _below(checks, "told") if name not in unknown]
    lines: list[str] = []
    if unknown:
        lines.append(
            f"CLIP does not know {', '.join(unknown)} by name: rename such classes in words of the "
            "web, or choose another CLIP (model.clip, cams.clip)"
        )
    if told:
        lines.append(
            f"the texts of {', '.join(told)} do not tell object from background: look at the "
            "answers (qaclims corpus-stats), and change corpus.questions or corpus.expected_names"
        )
    return lines or ["CLIP tells all of these classes from their backgrounds more often than not"]


def _below(checks: Sequence[ClassCheck], key: str) -> list[str]:
    values: list[tuple[str, float | None]] = [(one["name"], one[key]) for one in checks]
    return [name for name, value in values if value is not None and value < FAIR]


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.0f}"


def _look(experiment: Experiment, rows: Sequence[ImageRow], names: Sequence[str]) -> list[Seen]:
    """Look at images through the CLIP that is to judge them: that of the CAMs, or of RITC."""
    by_clip = experiment.cams.kind == "clip"
    features = artifact(experiment, "cam_texts" if by_clip else "texts")
    features.require()
    section = experiment.cams.clip if by_clip else experiment.model.clip
    depth = 0 if by_clip else experiment.model.clip.mask_prompt_depth
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clip = load_clip(resolve(section.model), section.pretrained, mask_prompt_depth=depth)
    clip = clip.to(device)
    own = by_clip or experiment.model.clip.normalisation == "clip"
    statistics = (clip.image_mean, clip.image_std) if own else (IMAGENET_MEAN, IMAGENET_STD)
    table = TextTable(features, device)
    cams = _cams(experiment, rows)
    class_features = F.normalize(table.of(names), dim=-1)
    seen: list[Seen] = []
    for row, texts in zip(rows, TextChooser(experiment)(rows), strict=True):
        pixels = decode(row["image"], max_pixels=experiment.data.max_pixels)
        image = normalise_pixels([pixels], *statistics, like=table.features)
        maps = torch.from_numpy(unpack_cams(cams[row["name"]])).to(device)
        regions = region_features(clip, image, maps, alpha=experiment.train.ritc.alpha)
        scores = (regions.inside @ class_features.mT).tolist()
        told: list[bool] | list[None] = [None] * len(scores)
        apart: list[float] | list[None] = [None] * len(scores)
        # RITC learns from no pair without a background text; CAMs of a CLIP fall back.
        if texts.backgrounds and (by_clip or not texts.falls_back):
            features = table.embed(texts)
            told = told_apart(regions, *features).tolist()
            apart = text_distances(*features).tolist()
        seen += map(Seen, row["labels"] or [], scores, told, apart)
    return seen


def _cams(experiment: Experiment, rows: Sequence[ImageRow]) -> dict[str, CamRow]:
    """Read the CAMs of some images from the run, or make those of a CLIP here."""
    names = [row["name"] for row in rows]
    for cams in ("cams", "baseline_cams"):
        made = artifact(experiment, cams)
        if made.is_complete():
            found = look_up(made, names, SCHEMAS["cams"].names).to_pylist()
            return {row["name"]: row for row in found}
    if experiment.cams.kind == "network":
        raise ValueError(
            "there are no CAMs to look at: run qaclims train-classifier and qaclims cams "
            "--baseline first, or look at those of a CLIP: cams.kind=clip"
        )
    return {row["name"]: row for row in ClipPredict(experiment)(rows)}
