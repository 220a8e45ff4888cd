"""Label maps from CAMs, by the section of the configuration that says how: seeds, pseudo masks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from qaclims_ray.config.refine import Masks, Seeds
from qaclims_ray.images.cams import resized_cams, unpack_cams
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import NORMALISED
from qaclims_ray.model.crf import dense_crf
from qaclims_ray.model.irn import Irn, predict_boundaries
from qaclims_ray.model.pixels import look_up, to_device
from qaclims_ray.model.predictor import equal_sizes
from qaclims_ray.refine.par import par_label_maps
from qaclims_ray.refine.seeds import Refine, cam_label_maps, merge_labels
from qaclims_ray.refine.walk import scores_to_mask, walk_cams
from qaclims_ray.types import CamRow, Image, LabelMap


class Pictured(NamedTuple):
    """An image with the CAMs of its classes."""

    image: Image
    cams: Float[np.ndarray, "N _ _"]
    """One map per class, in [0, 1], at any size."""
    classes: list[int]
    """Class indices, sorted."""


LabelMaps = UInt8[np.ndarray, "T H W"]
"""Label maps of an image at several background scores."""
Sweep = Callable[[Sequence[Pictured], Sequence[float]], list[LabelMaps]]
"""Images of one size, and background scores, to the label maps of each image at each score."""
Label = Callable[[Sequence[Pictured]], list[LabelMap]]
"""Images of one size to their label maps."""

_SCORES_AT_ONCE = 2
"""Background scores that PAR refines at once, which bounds its memory; seeds take two."""


def picture(
    rows: Sequence[CamRow], images: Mapping[str, bytes], *, max_pixels: int, max_images: int
) -> Iterator[tuple[list[str], list[Pictured]]]:
    """Decode images with their CAMs; yield names and images of one size, a batch at a time.

    Args:
        rows: CAMs.
        images: Encoded images by name.
        max_pixels: Largest image that is decoded.
        max_images: Images of a batch.
    """
    for batch in equal_sizes([(row["height"], row["width"]) for row in rows], max_images):
        own = [rows[i] for i in batch]
        yield (
            [row["name"] for row in own],
            [
                Pictured(
                    decode(images[row["name"]], max_pixels=max_pixels),
                    unpack_cams(row),
                    list(row["classes"]),
                )
                for row in own
            ],
        )


def seed_labeller(seeds: Seeds, device: str) -> Label:
    """Return the function that makes seeds as a configuration says; see `seed_sweep`."""
    sweep, thresholds = seed_sweep(seeds, device), (seeds.foreground, seeds.background)
    return lambda pictured: [
        merge_labels(strict, lenient) for strict, lenient in sweep(pictured, thresholds)
    ]


def mask_labeller(masks: Masks, net: Irn | None, device: str) -> Label:
    """Return the function that makes pseudo masks as a configuration says; see `mask_sweep`."""
    sweep = mask_sweep(masks, net, device)
    return lambda pictured: [made for (made,) in sweep(pictured, [masks.background])]


def seed_sweep(seeds: Seeds, device: str) -> Sweep:
    """Return the function that makes the labellings which seeds are merged of, at any scores.

    It raises ImportError where the CRF is wanted, and not installed.
    """
    if seeds.kind == "par":
        return partial(_par, num_steps=seeds.steps, device=device)
    crf = partial(dense_crf, steps=seeds.steps) if seeds.kind == "crf" else None
    return partial(_cams, refine=crf)


def mask_sweep(masks: Masks, net: Irn | None, device: str) -> Sweep:
    """Return the function that makes pseudo masks at any background scores.

    Args:
        masks: The section.
        net: Boundary network in evaluation mode, on the device; None where `kind` needs none.
        device: Where PAR computes.
    """
    if masks.kind == "irn":
        assert net is not None
        return partial(_walk, masks=masks, net=net)
    if masks.kind == "par":
        return partial(_par, num_steps=masks.steps, device=device)
    return partial(_cams, refine=None)


def _par(
    pictured: Sequence[Pictured], thresholds: Sequence[float], num_steps: int, device: str
) -> list[LabelMaps]:
    images, cams, classes = zip(*pictured, strict=True)
    refine = partial(
        par_label_maps, images, cams, classes, num_steps=num_steps, stride=2, device=device
    )
    starts = range(0, len(thresholds), _SCORES_AT_ONCE)
    parts = [refine(thresholds[start : start + _SCORES_AT_ONCE]) for start in starts]
    return [np.concatenate(own) for own in zip(*parts, strict=True)]


def _walk(
    pictured: Sequence[Pictured], thresholds: Sequence[float], masks: Masks, net: Irn
) -> list[LabelMaps]:
    """Let the CAMs walk once between the boundaries that the network sees (published sizes)."""
    device = next(net.parameters()).device
    levels = torch.from_numpy(NORMALISED).to(device)
    pixels = look_up(to_device(np.stack([one.image for one in pictured]), device), levels)
    edges = predict_boundaries(net, pixels).edge
    cells = (int(edges.shape[1]), int(edges.shape[2]))
    cams = [torch.from_numpy(resized_cams(one.cams, cells)).to(device) for one in pictured]
    scores = walk_cams(cams, edges, radius=masks.radius, beta=masks.beta, exp_times=masks.exp_times)
    size = (pixels.shape[2], pixels.shape[3])
    return [
        np.stack([scores_to_mask(own, one.classes, size, each) for each in thresholds])
        for own, one in zip(scores, pictured, strict=True)
    ]


def _cams(
    pictured: Sequence[Pictured], thresholds: Sequence[float], refine: Refine | None
) -> list[LabelMaps]:
    found: list[LabelMaps] = []
    for one in pictured:
        height, width = one.image.shape[:2]
        cams = resized_cams(one.cams, (height, width))
        found.append(cam_label_maps(one.image, cams, one.classes, thresholds, refine=refine))
    return found
