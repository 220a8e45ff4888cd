"""Pixels of 8 bits on their way to a network: they travel as they are, and become numbers there.

As float32 they would be four times as large, and normalising them would keep the thread busy that
has to feed the device.
"""

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

Levels = Float[Tensor, "3 256"]
"""What each channel's levels 0 to 255 mean to a network."""


def to_device(
    images: UInt8[np.ndarray, "B H W 3"], device: torch.device
) -> UInt8[Tensor, "B H W 3"]:
    """Bring images of one size to a device; a GPU copies them while this thread goes on."""
    return copied(torch.from_numpy(images), device)


def copied(tensor: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """Copy a tensor of the host's to a device, without waiting for what a GPU is busy with."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def look_up(pixels: UInt8[Tensor, "B H W 3"], levels: Levels) -> Float[Tensor, "B 3 H W"]:
    """Look up what pixels mean to a network, on the device where both are.

    A table gives the same bits wherever it is read; arithmetic may not.
    """
    channels = [levels[channel][pixels[..., channel].int()] for channel in range(3)]
    return torch.stack(channels, dim=1)
