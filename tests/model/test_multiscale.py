import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.multiscale import fuse_scales, multiscale_cams, normalise_cams, resize_images


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build_cam_net("small_resnet", 3).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 37, 50, generator=torch.manual_seed(1))


LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize(("resolution", "size"), [("strided", (10, 13)), ("full", (37, 50))])
def test_maps_of_the_pairs_lie_between_zero_and_one(net, images, resolution, size):
    cams = multiscale_cams(net, images, LABELS, resolution=resolution)
    assert cams.shape == (3, 1, *size)
    assert cams.min() >= 0
    assert cams.max() < 1
    assert not cams.requires_grad


@pytest.mark.parametrize("resolution", ["strided", "full"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_batch_equals_its_images_one_by_one(net, images, resolution, activation):
    settings = {"resolution": resolution, "activation": activation, "scales": (1.0, 1.5)}
    cams = multiscale_cams(net, images, LABELS, **settings)
    parts = cams.split(LABELS.count_nonzero(dim=1).tolist())
    for i, part in enumerate(parts):
        alone = multiscale_cams(net, images[i : i + 1], LABELS[i : i + 1], **settings)
        torch.testing.assert_close(part, alone, rtol=1e-4, atol=1e-5)


def test_the_cams_of_a_mirrored_image_are_mirrored(net):
    images = torch.randn(1, 3, 32, 64)
    cams = multiscale_cams(net, images, LABELS[:1], scales=(1.0,), resolution="full")
    mirrored = multiscale_cams(net, images.flip(-1), LABELS[:1], scales=(1.0,), resolution="full")
    torch.testing.assert_close(mirrored.flip(-1), cams, rtol=1e-4, atol=1e-5)


def test_an_image_without_labels_has_no_maps(net, images):
    assert multiscale_cams(net, images, 0 * LABELS).shape == (0, 1, 10, 13)


def test_maps_of_zeros_stay_zero(images):
    cams = multiscale_cams(lambda x: -torch.ones(len(x), 3, 4, 5), images, LABELS)
    assert torch.equal(cams, torch.zeros(3, 1, 10, 13))


def test_the_maximum_is_divided_by_itself_and_a_little_more():
    cams = torch.tensor([[[[1e-5, 0.0]]], [[[1.0, 0.5]]]])
    torch.testing.assert_close(normalise_cams(cams).amax(dim=(1, 2, 3)), torch.tensor([0.5, 1.0]))


def test_scales_are_summed_not_averaged():
    maps = torch.ones(1, 1, 4, 4)
    assert torch.equal(fuse_scales([maps, 2 * maps], 16, 16), torch.full((1, 1, 4, 4), 3.0))


def test_bfloat16_maps_are_fused_in_float32(net, images):
    exact = multiscale_cams(net, images, LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        cams = multiscale_cams(net, images, LABELS)
    assert cams.dtype == torch.float32
    torch.testing.assert_close(cams, exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("scale", [0.5, 1.5, 2.0])
def test_images_are_resized_as_pillow_does(scale):
    pixels = np.random.default_rng(0).integers(64, 192, (41, 30, 3), dtype=np.uint8)
    size = (round(30 * scale), round(41 * scale))
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    resized = resize_images(images, scale)[0].permute(1, 2, 0).clamp(0, 255)
    assert np.abs(resized.numpy() - expected).max() < 1.1


def test_a_side_of_one_pixel_stays_one():
    assert resize_images(torch.zeros(1, 3, 1, 5), 0.5).shape == (1, 3, 1, 2)


def test_the_network_sees_each_scale_and_its_mirror_image_once(images):
    seen = []

    class Recorder(nn.Module):
        def forward(self, batch):
            seen.append(tuple(batch.shape))
            return torch.zeros(len(batch), 3, 2, 2)

    multiscale_cams(Recorder(), images, LABELS, scales=(1.0, 2.0))
    assert seen == [(4, 3, 37, 50), (4, 3, 74, 100)]
