"""Probabilities of classes for images of any size: scales, mirror images, windows."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.shapes import Images

Probabilities = Float[Tensor, "B K H W"]
Net = Callable[[Images], Float[Tensor, "B K _ _"]]


@torch.no_grad()
def predict_probabilities(
    net: Net,
    images: Images,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = True,
    window: int | None = None,
    overlap: int = 0,
) -> Probabilities:
    """Average the probabilities that a network gives for scales, mirror images and windows.

    With windows, memory beyond the images and the result does not grow with their size. A window
    sees nothing of its surroundings at any scale; overlapping ones are averaged.

    Args:
        net: images to logits of any size, in evaluation mode; a `Segmenter` takes sides from 1.
        images: normalised, all of one size.
        scales: factors on height and width; sides are rounded, to 1 pixel at least.
        flip: with the mirror image of each scale.
        window: longest side in pixels, before scaling, that the network sees at once; None: any.
        overlap: of neighbouring windows, in pixels.

    Returns:
        float32; the sum over K is 1.

    Raises:
        ValueError: no window, or an overlap that is not shorter than it.
    """
    height, width = images.shape[2:]
    if window is None:
        return _augmented(net, images, scales, flip)
    if not 0 <= overlap < window:
        raise ValueError(
            f"windows of {window} pixels cannot overlap by {overlap}: the overlap is at least 0 "
            "and shorter than the window"
        )
    total, counts = None, images.new_zeros(height, width, dtype=torch.float32)
    for top in _starts(height, window, overlap):
        for left in _starts(width, window, overlap):
            place = (..., slice(top, top + window), slice(left, left + window))
            found = _augmented(net, images[place], scales, flip)
            if total is None:
                total = found.new_zeros(*found.shape[:2], height, width)
            total[place] += found
            counts[place] += 1
    assert total is not None
    return total.div_(counts)


def _augmented(net: Net, images: Images, scales: Sequence[float], flip: bool) -> Probabilities:
    """The mean over scales and mirror images, each at the size of the images."""
    size = height, width = images.shape[2:]
    views = len(scales) * (1 + flip)
    total = None
    for scale in scales:
        scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
        view = images
        if scaled != size:
            view = F.interpolate(images, scaled, mode="bilinear", antialias=True)
        for mirrored in (False, True) if flip else (False,):
            logits = net(view.flip(-1) if mirrored else view).float()
            logits = logits.flip(-1) if mirrored else logits
            if logits.shape[2:] != size:
                logits = F.interpolate(logits, size, mode="bilinear")
            share = logits.softmax(dim=1).div_(views)
            total = share if total is None else total.add_(share)
    assert total is not None
    return total


def _starts(side: int, window: int, overlap: int) -> Iterator[int]:
    """Where windows begin so that they cover a side; the last one ends with it."""
    last = max(0, side - window)
    yield from range(0, last, window - overlap)
    yield last
