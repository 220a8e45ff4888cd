import numpy as np
import pytest
import torch

from qaclims_ray.images.transforms import NORMALISED, normalise
from qaclims_ray.model.pixels import look_up, to_device

HERE = torch.device("cpu")


def test_pixels_are_looked_up_bit_for_bit():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    pixels = to_device(images, HERE)
    assert pixels.dtype == torch.uint8
    made = look_up(pixels, torch.from_numpy(NORMALISED))
    assert np.array_equal(made.numpy(), np.stack([normalise(image) for image in images]))


@pytest.mark.gpu
def test_a_gpu_looks_up_the_same_bits():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    device = torch.device("cuda")
    there = look_up(to_device(images, device), torch.from_numpy(NORMALISED).to(device))
    assert torch.equal(there.cpu(), look_up(to_device(images, HERE), torch.from_numpy(NORMALISED)))
