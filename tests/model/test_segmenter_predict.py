import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.model.segmenter_predict import predict_probabilities


def pixelwise(images):
    """Logits of each pixel from that pixel alone: any tiling gives the same."""
    return torch.cat([images, images.sum(dim=1, keepdim=True)], dim=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (40, 1), (33, 50)])
def test_probabilities_of_any_size_sum_to_one(segmenter, size):
    found = predict_probabilities(segmenter, torch.randn(2, 3, *size), scales=(0.5, 1.0, 1.5))
    assert found.shape == (2, 4, *size)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, *size))


def test_one_scale_without_mirror_is_the_softmax(segmenter):
    images = torch.randn(1, 3, 40, 56)
    found = predict_probabilities(segmenter, images, flip=False)
    torch.testing.assert_close(found, segmenter(images).softmax(dim=1))


def test_scales_and_mirror_images_are_averaged(make_segmenter):
    net = make_segmenter("smp")
    images = torch.randn(1, 3, 40, 56)
    found = predict_probabilities(net, images, scales=(1.0, 0.5), flip=True)
    half = F.interpolate(images, (20, 28), mode="bilinear", antialias=True)
    expected = 0
    for view in (images, half):
        for flipped in (False, True):
            logits = net(view.flip(-1)).flip(-1) if flipped else net(view)
            logits = F.interpolate(logits, (40, 56), mode="bilinear")
            expected = expected + logits.softmax(dim=1) / 4
    torch.testing.assert_close(found, expected)


def test_the_mirror_image_has_mirrored_probabilities(segmenter):
    images = torch.randn(1, 3, 35, 50)
    found = predict_probabilities(segmenter, images, scales=(1.0, 0.75))
    mirrored = predict_probabilities(segmenter, images.flip(-1), scales=(1.0, 0.75))
    torch.testing.assert_close(mirrored.flip(-1), found)
    plain = predict_probabilities(segmenter, images, flip=False)
    other = predict_probabilities(segmenter, images.flip(-1), flip=False)
    assert not torch.allclose(other.flip(-1), plain)


def test_a_batch_equals_its_images_one_by_one(segmenter):
    images = torch.randn(3, 3, 35, 50)
    options = {"scales": (1.0, 0.75), "window": 32, "overlap": 8}
    found = predict_probabilities(segmenter, images, **options)
    single = [predict_probabilities(segmenter, image[None], **options) for image in images]
    torch.testing.assert_close(found, torch.cat(single))


@pytest.mark.parametrize("window", [50, 51, 1000])
def test_a_window_as_long_as_the_image_equals_the_whole(segmenter, window):
    images = torch.randn(1, 3, 35, 50)
    whole = predict_probabilities(segmenter, images, scales=(1.0, 0.5))
    found = predict_probabilities(segmenter, images, scales=(1.0, 0.5), window=window, overlap=3)
    assert torch.equal(found, whole)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(0, 11), st.booleans()
)
def test_windows_cover_each_pixel_whatever_their_sizes(height, width, window, overlap, flip):
    images = torch.randn(1, 3, height, width)
    overlap = min(overlap, window - 1)
    found = predict_probabilities(pixelwise, images, flip=flip, window=window, overlap=overlap)
    torch.testing.assert_close(found, pixelwise(images).softmax(dim=1))


def test_overlapping_windows_are_averaged_and_no_longer_than_asked():
    seen = []

    def net(images):
        seen.append(tuple(images.shape[2:]))
        return torch.full_like(images[:, :2], 0.0).index_fill(1, torch.tensor([0]), len(seen))

    found = predict_probabilities(net, torch.zeros(1, 3, 4, 6), flip=False, window=4, overlap=2)
    assert seen == [(4, 4), (4, 4)]
    first, second = (torch.tensor([k, 0.0]).softmax(dim=0)[0] for k in (1.0, 2.0))
    expected = torch.stack(
        [first, first, (first + second) / 2, (first + second) / 2, second, second]
    )
    torch.testing.assert_close(found[0, 0], expected.expand(4, 6))


def test_the_images_are_left_as_they_are(segmenter):
    images = torch.randn(1, 3, 20, 30)
    before = images.clone()
    predict_probabilities(segmenter, images, window=16)
    assert torch.equal(images, before)


def test_half_precision_logits_give_single_precision():
    def net(images):
        return pixelwise(images).bfloat16()

    assert predict_probabilities(net, torch.randn(1, 3, 5, 5)).dtype == torch.float32


@pytest.mark.parametrize(("window", "overlap"), [(8, 8), (8, -1), (0, 0)])
def test_windows_that_do_not_advance_are_an_error(window, overlap):
    with pytest.raises(ValueError, match=f"windows of {window} pixels cannot overlap by {overlap}"):
        predict_probabilities(pixelwise, torch.zeros(1, 3, 20, 20), window=window, overlap=overlap)
