"""CAM rows as arrays."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from qaclims_ray.types import CamRow


def full_size(row: CamRow) -> Float[np.ndarray, "N H W"]:
    """An image's CAMs at the size of the image (bilinear, as the published strided maps are)."""
    shape = (len(row["classes"]), row["cam_height"], row["cam_width"])
    cams = np.frombuffer(row["cam"], np.float16).reshape(shape).astype(np.float32)
    size = (row["height"], row["width"])
    if shape[1:] == size or not row["classes"]:
        return np.resize(cams, (shape[0], *size))
    return F.interpolate(torch.from_numpy(cams)[None], size, mode="bilinear")[0].numpy()
