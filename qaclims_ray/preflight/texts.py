"""Whether CLIP tells the regions of a run's images by its texts, looked at on a few images.

Reads `images`, `pairs` and text features, and CAMs where there are some. Needs no Ray.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F

from qaclims_ray.cams.predict import ClipPredict, TextChooser, TextTable
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.images.cams import unpack_cams
from qaclims_ray.images.decode import decode
from qaclims_ray.model.clip_files import load_clip
from qaclims_ray.model.clip_vit import normalise_pixels
from qaclims_ray.model.text_check import ranking, region_features, text_distances, told_apart
from qaclims_ray.preflight.text_findings import ClassCheck, Found, findings_uri, text
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names, labelled
from qaclims_ray.run.tables import look_up
from qaclims_ray.storage.files import write_json
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD, SCHEMAS, CamRow, ImageRow


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
    uri = findings_uri(experiment)
    write_json(uri, Found(images=len(rows), classes=checks))
    return f"{text(checks)}\n\ncheck_texts: {len(rows)} images · {uri}"


def choose_rows(images: Artifact, num_images: int) -> list[ImageRow]:
    """Choose images with labels, class after class in turn, sorted by name."""
    by_class: dict[int, list[str]] = {}
    for batch in labelled(images).to_batches(columns=["name", "labels"]):
        for row in batch.to_pylist():
            for label in row["labels"]:
                if len(own := by_class.setdefault(label, [])) < num_images:  # more are not needed
                    own.append(row["name"])
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
