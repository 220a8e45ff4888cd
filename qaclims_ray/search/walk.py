"""The background score of the random walk's masks, chosen over CAMs that are there.

A mask is the argmax over the background score and the walked CAMs, so one walk gives the masks at
all scores, as one CAM gives those at all thresholds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypedDict, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional as F

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.decode import decode, decode_mask
from qaclims_ray.images.transforms import normalise
from qaclims_ray.metrics.confusion import mean_iou, sweep
from qaclims_ray.model.affinity import random_walk
from qaclims_ray.model.irn import Irn, build_irn, predict_boundaries
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import look_up
from qaclims_ray.storage.files import read_bytes, write_json
from qaclims_ray.storage.paths import absolute
from qaclims_ray.types import SCHEMAS, CamRow, Image

WALK = "walk.json"
PUBLISHED = 0.2
"""Background score of the published masks."""
_GRADY_BETA, _WALK_BETA = 90.0, 10.0

Boundaries = Callable[[Image, tuple[int, int]], Float[Tensor, "h w"]]
"""Boundary probabilities of an image, in [0, 1], at the size of its CAMs in cells."""


class MaskScore(TypedDict):
    """Masks at one background score."""

    background: float
    miou: float


class WalkChoice(TypedDict):
    """What a search for the background score found."""

    irn: str | None
    """The boundary network; null: boundaries are changes of colour."""
    choosing: MaskScore
    """The chosen score, on the images that chose it."""
    held_out: MaskScore
    """The same score on the others."""
    published: MaskScore
    """The published score 0.2 (or the nearest to it) on those others."""
    thresholds: list[float]
    curve: list[float]
    """mIoU at each of them on the choosing images."""


def colour_boundaries(image: Image, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """Changes of colour between a cell and those right of and below it.

    The walk's weight between two neighbours, (1 - boundary)^10, becomes exp(-90 d²) with their
    difference of colour d, in units of the image's largest (Grady, "Random Walks for Image
    Segmentation", PAMI 2006, section III). A cell counts as what its strongest change makes it.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    cells = F.adaptive_avg_pool2d(pixels, size)[0]
    right = F.pad(cells.diff(dim=2), (0, 1)).square().sum(0)
    below = F.pad(cells.diff(dim=1), (0, 0, 0, 1)).square().sum(0)
    squares = torch.maximum(right, below)
    relative = squares / squares.max().clamp_min(torch.finfo(squares.dtype).tiny)
    return 1 - torch.exp(-_GRADY_BETA / _WALK_BETA * relative)


def network_boundaries(net: Irn, image: Image, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """What a boundary network in evaluation mode says, on its device."""
    device = next(net.parameters()).device
    pixels = torch.from_numpy(normalise(image))[None].to(device)
    height, width = size
    return predict_boundaries(net, pixels).edge[0, :height, :width]


def boundaries(file: str | None, backbone: str) -> Boundaries:
    """What holds the walk back.

    Args:
        file: Weights of a boundary network; None: changes of colour.
        backbone: Of that network.
    """
    if file is None:
        return colour_boundaries
    net = build_irn(backbone)
    net.load_state_dict(load(read_bytes(file)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return partial(network_boundaries, net.to(device).eval())


def check_cams(experiment: Experiment) -> None:
    """Refuse CAMs that the walk cannot start from.

    Raises:
        ValueError: they are not there, or at full resolution.
    """
    artifact(experiment, "cams").require()
    if experiment.cams.resolution != "strided":
        raise ValueError(
            f"tune.refine.walk: the walk goes over cells of 4 pixels, and cams.resolution is "
            f"{experiment.cams.resolution!r}: make CAMs with cams.resolution=strided, or set "
            "tune.refine.walk: false"
        )


def walked(row: CamRow, edge: Float[Tensor, "h w"]) -> Float[np.ndarray, "N H W"]:
    """An image's CAMs after the walk, divided by their largest, at the size of the image.

    Their argmax with a background score is what `refine.walk.walk_to_mask` makes of it.
    """
    num_classes, height, width = len(row["classes"]), row["height"], row["width"]
    if not num_classes:
        return np.zeros((0, height, width), np.float32)
    cells = (num_classes, row["cam_height"], row["cam_width"])
    cams = np.frombuffer(row["cam"], np.float16).reshape(cells).astype(np.float32)
    scores = random_walk(torch.from_numpy(cams).to(edge.device), edge)[None]
    full = F.interpolate(scores, scale_factor=4, mode="bilinear")[0, :, :height, :width]
    return (full / full.max().clamp_min(torch.finfo(full.dtype).tiny)).cpu().numpy()


def count_masks(experiment: Experiment, names: Sequence[str]) -> Int[np.ndarray, "T K K"]:
    """Confusion matrices of the walk's masks at all `evaluate.thresholds`, summed over images.

    Args:
        experiment: With complete `cams`.
        names: Images with ground truth, all in memory at a time.
    """
    assert experiment.tune.refine is not None
    thresholds, images = experiment.evaluate.thresholds, artifact(experiment, "images")
    num_classes = len(class_names(images))
    bounds = boundaries(experiment.tune.refine.irn, experiment.model.backbone)
    rows = look_up(artifact(experiment, "cams"), names, SCHEMAS["cams"].names).to_pylist()
    total = np.zeros((len(thresholds), num_classes + 1, num_classes + 1), np.int64)
    seen = look_up(images, names, ["image", "mask"]).to_pylist()
    for row, one in zip(cast(list[CamRow], rows), seen, strict=True):
        image = decode(one["image"], max_pixels=experiment.data.max_pixels)
        edge = bounds(image, (row["cam_height"], row["cam_width"]))
        truth = decode_mask(one["mask"])
        total += sweep(walked(row, edge), row["classes"], truth, thresholds, num_classes)
    return total


def choose_background(
    choosing: Int[np.ndarray, "T K K"],
    held_out: Int[np.ndarray, "T K K"],
    thresholds: Sequence[float],
    irn: str | None,
) -> WalkChoice:
    """The background score with the highest mIoU on some images, and how it does on others.

    Args:
        choosing: Confusion matrices of the images that choose.
        held_out: Of those that are reported.
        thresholds: Background scores.
        irn: What held the walk back.
    """
    curve, others = (mean_iou(part).tolist() for part in (choosing, held_out))
    best = int(np.argmax(curve))
    published = int(np.argmin([abs(one - PUBLISHED) for one in thresholds]))
    return WalkChoice(
        irn=irn,
        choosing=MaskScore(background=thresholds[best], miou=curve[best]),
        held_out=MaskScore(background=thresholds[best], miou=others[best]),
        published=MaskScore(background=thresholds[published], miou=others[published]),
        thresholds=list(thresholds),
        curve=curve,
    )


def write_walk(experiment: Experiment, found: WalkChoice) -> str:
    """Write `search/walk.json`; return a summary line."""
    uri, best = f"{absolute(experiment.run)}/search/{WALK}", found["held_out"]
    write_json(uri, found)
    miou, published = (100 * found[name]["miou"] for name in ("held_out", "published"))
    return (
        f"masks: background score {best['background']:g}: mIoU {miou:.1f} on held-out images, at "
        f"the published score {published:.1f} · {uri}"
    )
