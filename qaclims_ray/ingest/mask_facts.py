"""Compare the masks of a data set with its labels: most mistakes in either show there."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypedDict

import numpy as np
import pyarrow.dataset as pads
from jaxtyping import Bool, Int

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.types import IGNORE

_SHOWN = 5
"""Number of classes that a warning names."""
_MUCH_IGNORED = 0.25
"""Share of ignored pixels that is worth a warning; VOC's is 0.05."""
_BATCH = 256
_THREADS = 4


class MaskFacts(TypedDict):
    """How ground truth and labels of the images with ground truth agree."""

    shown: dict[str, int]
    """Images whose mask shows a class, for each class, as for the two below."""
    not_labelled: dict[str, int]
    """Images whose mask shows the class, and whose labels lack it."""
    not_shown: dict[str, int]
    """Images whose labels name the class, and whose mask lacks it."""
    num_not_labelled: int
    """Images of which any class is so."""
    num_not_shown: int
    ignored: float
    """Share of the pixels of all masks that are ignored (255), in [0, 1]."""


def count_masks(images: pads.Dataset, class_names: Sequence[str]) -> MaskFacts | None:
    """Compare the masks of images with their labels; None where there is no mask.

    Args:
        images: columns `labels` and `mask`.
        class_names: names in the order of their indices.
    """
    counts = np.zeros((3, len(class_names)), np.int64)
    num_images = np.zeros(3, np.int64)
    num_pixels = np.zeros(IGNORE + 1, np.int64)
    # Few at a time, as masks of one batch are in memory together.
    batches = images.to_batches(
        columns=["labels", "mask"], filter=pads.field("mask").is_valid(), batch_size=_BATCH
    )
    compare = partial(_agreement, num_classes=len(class_names))
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in batches:
            columns = (batch[name].to_pylist() for name in ("labels", "mask"))
            for found, agreement in pool.map(compare, *columns):
                counts += agreement
                num_images += agreement.any(axis=1)
                num_pixels += found
    if not num_pixels.any():
        return None
    shown, not_labelled, not_shown = (
        dict(zip(class_names, row, strict=True)) for row in counts.tolist()
    )
    return MaskFacts(
        shown=shown,
        not_labelled=not_labelled,
        not_shown=not_shown,
        num_not_labelled=int(num_images[1]),
        num_not_shown=int(num_images[2]),
        ignored=float(num_pixels[IGNORE] / num_pixels.sum()),
    )


def _agreement(
    labels: list[int] | None, mask: bytes, num_classes: int
) -> tuple[Int[np.ndarray, "256"], Bool[np.ndarray, "3 K"]]:
    """Count a mask's values; tell which classes it shows, it alone, and the labels alone."""
    num_pixels = np.bincount(decode_mask(mask).ravel(), minlength=IGNORE + 1)
    shown = num_pixels[1 : num_classes + 1] > 0
    labelled = np.zeros(num_classes, bool)
    labelled[labels or []] = True
    if labels is None:  # nobody says that a class is not there
        labelled = shown
    return num_pixels, np.stack([shown, shown & ~labelled, labelled & ~shown])


def mask_lines(masks: MaskFacts | None) -> list[str]:
    """Write the facts as lines of text for people."""
    if masks is None:
        return []
    return [
        f"masks and labels: {masks['num_not_labelled']:,} masks show a class that the labels lack, "
        f"{masks['num_not_shown']:,} lack one that they name; {masks['ignored']:.1%} of all pixels "
        "are ignored (255)"
    ]


def check_masks(masks: MaskFacts | None) -> list[str]:
    """Return warnings: where masks and labels tell of other classes, and what cannot be scored."""
    if masks is None:
        return []
    if not any(masks["shown"].values()):
        return [
            f"no mask shows any class ({masks['ignored']:.1%} of all pixels are 255, which is "
            "ignored, the others 0, which is background): nothing can be scored with them. A mask "
            "holds class index + 1, so 1 where masks of a single class often hold 255"
        ]
    warnings = [
        f"{masks[number]:,} images {what}: {_most(masks[classes])}. {why}"
        for number, classes, what, why in (
            (
                "num_not_labelled",
                "not_labelled",
                "have a mask that shows a class which their labels lack",
                "Is the order of the class names that of the mask values (class index + 1)?",
            ),
            (
                "num_not_shown",
                "not_shown",
                "have a label whose class their mask lacks",
                "No pixel can be right for it there",
            ),
        )
        if masks[number]
    ]
    if masks["ignored"] > _MUCH_IGNORED:
        warnings.append(
            f"{masks['ignored']:.1%} of all pixels of masks are 255, which is ignored: no score "
            "counts them"
        )
    return warnings


def _most(counts: dict[str, int]) -> str:
    """Write the largest of counts."""
    ordered = sorted((item for item in counts.items() if item[1]), key=lambda item: -item[1])
    rest = f" and {len(ordered) - _SHOWN:,} more" if len(ordered) > _SHOWN else ""
    return ", ".join(f"{name} in {number:,}" for name, number in ordered[:_SHOWN]) + rest
