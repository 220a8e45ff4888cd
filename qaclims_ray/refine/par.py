"""Labels and seeds by pixel-adaptive refinement: CAMs snap to the edges of the image.

The rule of ToCo and AFA (`utils/camutils.py:refine_cams_with_bkg_v2`): at half the size of the
image, PAR spreads the softmax over the image's own CAMs and a background score that is the same
everywhere. Unlike the CRF it needs nothing compiled, and runs on batches and GPUs.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from qaclims_ray.model.par import refine_scores
from qaclims_ray.types import BACKGROUND, Image


def par_label_maps(
    images: Sequence[Image],
    cams: Sequence[Float[np.ndarray, "_ _ _"]],
    classes: Sequence[Sequence[int]],
    thresholds: Sequence[float],
    *,
    num_steps: int,
    stride: int,
    device: torch.device | str,
) -> list[UInt8[np.ndarray, "T H W"]]:
    """A label map of each image at each background score: class index + 1, or 0.

    Args:
        images: All of one size.
        cams: In [0, 1], one map per class of the image; of any one size, such as stride 4.
        classes: Class indices of each image; one without any is all background.
        thresholds: Background scores.
        num_steps: See `refine_scores`.
        stride: See `refine_labels`.
        device: Where to compute.
    """
    pixels = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
    maps = [torch.from_numpy(each.astype(np.float32)) for each in cams]
    padded = pad_sequence(maps, batch_first=True).to(device)
    counts = torch.tensor([len(each) for each in classes])
    present = (torch.arange(padded.shape[1]) < counts[:, None]).to(device)
    places = refine_labels(pixels, padded, present, thresholds, num_steps=num_steps, stride=stride)
    values = [np.array([BACKGROUND, *(index + 1 for index in own)], np.uint8) for own in classes]
    return [own[each] for own, each in zip(values, places.cpu().numpy(), strict=True)]


@torch.no_grad()
def refine_labels(
    images: Float[Tensor, "B 3 H W"],
    cams: Float[Tensor, "B C _ _"],
    present: Bool[Tensor, "B C"],
    thresholds: Sequence[float],
    *,
    num_steps: int,
    stride: int,
) -> UInt8[Tensor, "B T H W"]:
    """The labels of all pixels, refined by PAR, at each background score.

    All labellings of an image share its affinities. CAMs may have any size.

    Args:
        images: RGB of any scale.
        cams: In [0, 1].
        present: False for a CAM that wins no pixel: of a class that the image does not show, or
            padding.
        thresholds: Background scores.
        num_steps: See `refine_scores`.
        stride: PAR works on cells of so many pixels a side.

    Returns:
        1 + the place of the winning CAM, or 0 for the background.
    """
    height, width = images.shape[2:]
    size = (max(1, height // stride), max(1, width // stride))
    scores = cam_probabilities(cams, present, thresholds, size)
    small = F.interpolate(images, size, mode="bilinear")
    refined = refine_scores(small, scores.flatten(1, 2), num_steps=num_steps)
    full = F.interpolate(refined, (height, width), mode="bilinear")
    # On a CPU, max is many times faster than argmax along an axis that is not the last.
    return full.unflatten(1, scores.shape[1:3]).max(dim=2).indices.byte()


def cam_probabilities(
    cams: Float[Tensor, "B C _ _"],
    present: Bool[Tensor, "B C"],
    thresholds: Sequence[float],
    size: tuple[int, int],
) -> Float[Tensor, "B T K h w"]:
    """Softmax over the present CAMs and each background score, the background first.

    CAMs are resized to `size` bilinearly. The softmax has no temperature, so that scores in [0, 1]
    give probabilities far from 0 and 1. Absent CAMs have the probability 0.
    """
    resized = F.interpolate(F.pad(cams, (0, 0, 0, 0, 1, 0)), size, mode="bilinear")
    absent = ~F.pad(present, (1, 0), value=True)
    scores = resized.masked_fill(absent[:, :, None, None], -torch.inf)
    scores = scores[:, None].repeat(1, len(thresholds), 1, 1, 1)
    scores[:, :, 0] = scores.new_tensor(thresholds)[:, None, None]
    return scores.softmax(dim=2)
