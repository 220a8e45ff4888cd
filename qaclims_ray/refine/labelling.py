"""Label maps from CAMs, by the section of the configuration that says how: seeds, pseudo masks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from qaclims_ray.config.refine import Masks, Seeds
from qaclims_ray.images.cams import resized_cams
from qaclims_ray.images.transforms import normalise
from qaclims_ray.model.crf import dense_crf
from qaclims_ray.model.irn import Irn, predict_boundaries
from qaclims_ray.refine.par import par_label_maps, par_seeds
from qaclims_ray.refine.seeds import label_cams, make_seeds
from qaclims_ray.refine.walk import walk_to_masks
from qaclims_ray.types import BACKGROUND, Image, LabelMap

STRIDE = 4
"""Pixels per cell of strided CAMs, and of the boundary network's output."""


class Pictured(NamedTuple):
    """An image with the CAMs of its classes."""

    image: Image
    cams: Float[np.ndarray, "N _ _"]
    """In [0, 1], at any size, one per class."""
    classes: list[int]
    """Class indices, sorted."""


Label = Callable[[Sequence[Pictured]], list[LabelMap]]
"""Images of one size to their label maps."""


def seed_labeller(seeds: Seeds, device: str) -> Label:
    """Return the function that makes seeds as a configuration says.

    Raises:
        ImportError: the CRF is wanted, and not installed.
        ValueError: the installed CRF computes wrong results.
    """
    if seeds.kind == "par":
        return partial(_par_seeds, seeds=seeds, device=device)
    crf = partial(dense_crf, steps=seeds.steps) if seeds.kind == "crf" else None
    return lambda pictured: [
        make_seeds(
            one.image,
            _full(one),
            one.classes,
            foreground=seeds.foreground,
            background=seeds.background,
            refine=crf,
        )
        for one in pictured
    ]


def mask_labeller(masks: Masks, net: Irn | None, device: str) -> Label:
    """Return the function that makes pseudo masks as a configuration says.

    Args:
        masks: The section.
        net: Boundary network in evaluation mode, on the device; None where `kind` needs none.
        device: Where PAR computes.
    """
    if masks.kind == "irn":
        assert net is not None
        return partial(_walk, masks=masks, net=net)
    if masks.kind == "par":
        return partial(_par_masks, masks=masks, device=device)
    return lambda pictured: [_argmax(one, masks.background) for one in pictured]


def _par_seeds(pictured: Sequence[Pictured], seeds: Seeds, device: str) -> list[LabelMap]:
    images, cams, classes = zip(*pictured, strict=True)
    return par_seeds(
        images,
        cams,
        classes,
        foreground=seeds.foreground,
        background=seeds.background,
        num_steps=seeds.steps,
        device=device,
    )


def _par_masks(pictured: Sequence[Pictured], masks: Masks, device: str) -> list[LabelMap]:
    images, cams, classes = zip(*pictured, strict=True)
    made = par_label_maps(
        images, cams, classes, [masks.background], num_steps=masks.steps, stride=2, device=device
    )
    return [label_maps[0] for label_maps in made]


def _walk(pictured: Sequence[Pictured], masks: Masks, net: Irn) -> list[LabelMap]:
    """Let the CAMs walk between the boundaries that the network sees (published sizes)."""
    device = next(net.parameters()).device
    pixels = np.stack([normalise(one.image) for one in pictured])
    edges = predict_boundaries(net, torch.from_numpy(pixels).to(device)).edge
    cells = (int(edges.shape[1]), int(edges.shape[2]))
    cams = [torch.from_numpy(resized_cams(one.cams, cells)).to(device) for one in pictured]
    return walk_to_masks(
        cams,
        edges,
        [one.classes for one in pictured],
        [(one.image.shape[0], one.image.shape[1]) for one in pictured],
        background=masks.background,
        radius=masks.radius,
        beta=masks.beta,
        exp_times=masks.exp_times,
    )


def _argmax(one: Pictured, background: float) -> LabelMap:
    values = np.array([BACKGROUND, *(index + 1 for index in one.classes)], dtype=np.uint8)
    return values[label_cams(_full(one), background)]


def _full(one: Pictured) -> Float[np.ndarray, "N H W"]:
    height, width = one.image.shape[:2]
    return resized_cams(one.cams, (height, width))
