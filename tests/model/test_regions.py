import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.model.regions import region_views, renormalise, select_pairs, threshold_masks
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD


def test_pairs_are_ordered_by_image_and_then_by_class():
    pairs = select_pairs(torch.tensor([[0.0, 1, 1], [0, 0, 0], [1, 0, 0]]))
    assert pairs.image.tolist() == [0, 0, 2]
    assert pairs.label.tolist() == [1, 2, 0]


def test_pairs_whose_number_is_known_are_the_same():
    labels = (torch.rand(5, 7, generator=torch.manual_seed(0)) > 0.6).float()
    for known, found in zip(
        select_pairs(labels, int(labels.sum())), select_pairs(labels), strict=True
    ):
        assert torch.equal(known, found)
    assert len(select_pairs(0 * labels, 0).image) == 0


@pytest.mark.parametrize(
    ("cam", "mask"),
    [
        ([0.0, 0.25, 0.5, 2.0], [0.0, 0, 1, 1]),
        ([0.0, 0.0, 0.0, 0.0], [1.0, 1, 1, 1]),
        ([0.5, 0.5, 0.5, 0.5], [1.0, 1, 1, 1]),
    ],
)
def test_masks_begin_at_the_share_of_the_maximum(cam, mask):
    cams = torch.tensor(cam).reshape(1, 1, 2, 2)
    assert torch.equal(threshold_masks(cams, 0.25), torch.tensor(mask).reshape(1, 1, 2, 2))


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(2, 5),
    st.floats(0, 1),
)
def test_views_equal_a_loop_over_pairs(seed, num_images, num_classes, side, alpha):
    generator = torch.manual_seed(seed)
    cams = torch.rand(num_images, num_classes, side, side + 1, generator=generator)
    images = torch.randn(num_images, 3, 11, 7, generator=generator)
    labels = (torch.rand(num_images, num_classes, generator=generator) > 0.5).float()
    regions = region_views(cams, images, select_pairs(labels), 9, alpha)
    expected = [
        _views_of_a_pair(cams[i, c], images[i], alpha)
        for i in range(num_images)
        for c in range(num_classes)
        if labels[i, c]
    ]
    assert all(len(part) == len(expected) for part in regions)
    for position, parts in enumerate(expected):
        for actual, part in zip(regions, parts, strict=True):
            torch.testing.assert_close(actual[position], part)


def _views_of_a_pair(cam, image, alpha):
    cam = F.interpolate(cam[None, None], (9, 9), mode="bilinear", align_corners=True)[0]
    image = F.interpolate(image[None], (9, 9), mode="bilinear", align_corners=True)[0]
    mask = (cam >= alpha * cam.max()).float()
    return cam * image, (1 - cam) * image, mask, 1 - mask


def test_gradients_flow_to_the_cams_of_the_pairs_only():
    cams = torch.rand(2, 2, 3, 3, requires_grad=True)
    pairs = select_pairs(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    regions = region_views(cams, torch.ones(2, 3, 4, 4), pairs, 6, 0.1)
    regions.foreground.sum().backward()
    assert not regions.foreground_mask.requires_grad
    assert cams.grad[0, 1].abs().sum() > 0
    assert cams.grad.count_nonzero() == cams.grad[0, 1].count_nonzero()


def test_renormalised_images_are_those_normalised_otherwise():
    pixels = torch.rand(2, 3, 4, 5)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)

    def normalised(mean, std):
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    images = renormalise(normalised(IMAGENET_MEAN, IMAGENET_STD), mean, std)
    torch.testing.assert_close(images, normalised(mean, std))
