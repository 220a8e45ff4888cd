"""CAM rows as arrays."""

from itertools import count

import numpy as np
from jaxtyping import Float

from qaclims_ray.types import CamRow

CamArray = Float[np.ndarray, "N _ _"]
"""CAMs of one image in [0, 1], one per class."""


def unpack_cams(row: CamRow) -> CamArray:
    """Return the CAMs of a row as float32, at the size that they have there."""
    shape = (len(row["classes"]), row["cam_height"], row["cam_width"])
    return np.frombuffer(row["cam"], np.float16).reshape(shape).astype(np.float32)


def cams_by_class(row: CamRow) -> dict[int, CamRow]:
    """Split the CAMs of an image into rows of one class each, by their class indices."""
    size = 2 * row["cam_height"] * row["cam_width"]
    return {
        label: CamRow({**row, "classes": [label], "cam": row["cam"][place : place + size]})
        for label, place in zip(row["classes"], count(0, size), strict=False)
    }


def resized_cams(cams: CamArray, size: tuple[int, int]) -> Float[np.ndarray, "N H W"]:
    """Resize CAMs bilinearly to (height, width), as the published strided maps are."""
    if cams.shape[1:] == size or not len(cams):
        return np.resize(cams, (len(cams), *size))
    import torch  # a second and more, which scores of label maps need not wait for
    import torch.nn.functional as F

    return F.interpolate(torch.from_numpy(cams)[None], size, mode="bilinear")[0].numpy()


def full_size(row: CamRow) -> Float[np.ndarray, "N H W"]:
    """Return an image's CAMs at the size of the image."""
    return resized_cams(unpack_cams(row), (row["height"], row["width"]))
