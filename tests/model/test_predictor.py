import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qaclims_ray.config.cams import Cams
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import normalise, rescale
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.multiscale import multiscale_cams
from qaclims_ray.model.predictor import CamPredictor, equal_sizes, load_cam_net

SIZES = [(32, 48), (40, 40), (32, 48), (24, 56), (40, 40)]
LABELS = [[1], [0, 2], [0], [], [2]]
NUM_CLASSES = 3


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build_cam_net("small_resnet", NUM_CLASSES).eval()


@pytest.fixture(scope="module")
def rows(png):
    rng = np.random.default_rng(0)
    return [
        {
            "name": f"i{number}",
            "image": png(rng.integers(0, 256, (*size, 3), np.uint8)),
            "height": size[0],
            "width": size[1],
            "labels": labels,
        }
        for number, (size, labels) in enumerate(zip(SIZES, LABELS, strict=True))
    ]


def _maps(row):
    shape = (len(row["classes"]), row["cam_height"], row["cam_width"])
    return np.frombuffer(row["cam"], np.float16).reshape(shape)


def _predict(rows, net, cams, max_images=8):
    return CamPredictor(net, **cams.fusion(), max_images=max_images).predict_rows(rows, 10_000)


@pytest.mark.parametrize("resolution", ["strided", "full"])
def test_images_of_unlike_sizes_come_back_in_their_order(net, rows, resolution):
    made = _predict(rows, net, Cams(scales=(1.0,), resolution=resolution))
    assert [row["name"] for row in made] == [row["name"] for row in rows]
    assert [(row["height"], row["width"]) for row in made] == SIZES
    assert [row["classes"] for row in made] == LABELS
    sizes = [(row["cam_height"], row["cam_width"]) for row in made]
    full = resolution == "full"
    assert sizes == (SIZES if full else [((h - 1) // 4 + 1, (w - 1) // 4 + 1) for h, w in SIZES])
    assert all(0 <= _maps(row).min() <= _maps(row).max() <= 1 for row in made if row["classes"])


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_maps_are_those_of_each_image_alone(net, rows, activation):
    cams = Cams(scales=(1.0, 0.5), activation=activation, resize="normalised")
    for row, made in zip(rows, _predict(rows, net, cams), strict=True):
        labels = torch.zeros(1, NUM_CLASSES)
        labels[0, row["labels"]] = 1
        image = torch.from_numpy(normalise(decode(row["image"])))[None]
        alone = multiscale_cams(net, image, labels, scales=(1.0, 0.5), activation=activation)
        np.testing.assert_allclose(_maps(made), alone[:, 0].numpy(), atol=2e-3)


@pytest.mark.parametrize("size", [(31, 47), (1, 40), (1, 1)])
def test_the_network_sees_scaled_pixels_of_8_bits_or_the_scaled_input(net, size):
    """At hard edges the resized input overshoots what 8 bits hold."""
    image = np.zeros((*size, 3), np.uint8)
    image[:, size[1] // 2 :] = 255
    seen = []
    handle = net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].numpy()))
    for resize in ("uint8", "normalised"):
        CamPredictor(net, scales=(0.5, 2.0), resize=resize).predict([image], [[0]])
    handle.remove()
    for scale, pixels in zip((0.5, 2.0), seen[:2], strict=True):
        np.testing.assert_array_equal(pixels, normalise(rescale(image, scale)))
    assert [one.shape for one in seen[:2]] == [one.shape for one in seen[2:]]
    if size[1] > 40:
        assert seen[3].max() > seen[1].max() + 0.1


def test_maps_differ_between_images_and_classes(net, rows):
    made = _predict(rows, net, Cams(scales=(1.0,)))
    assert not np.array_equal(_maps(made[0])[0], _maps(made[2])[0])
    assert not np.array_equal(*_maps(made[1]))


def test_images_of_one_size_share_batches_of_bounded_length():
    small, large = (3, 4), (4, 3)
    batches = list(equal_sizes([small, large, small, small, small, large], 3))
    assert batches == [[0, 2, 3], [4], [1, 5]]
    assert list(equal_sizes([], 3)) == []


def test_the_network_never_sees_more_images_than_it_may(net, rows):
    seen = []
    handle = net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    made = _predict(rows * 3, net, Cams(scales=(1.0,)), max_images=4)
    handle.remove()
    # Each image comes with its mirror image; six, six and three images of the three sizes.
    assert seen == [8, 4, 8, 4, 6]
    assert [row["name"] for row in made] == [row["name"] for row in rows * 3]


def test_an_image_whose_labels_nobody_knows_has_no_cams(net, rows):
    (made,) = _predict([{**rows[0], "labels": None}], net, Cams(scales=(1.0,)))
    assert (made["classes"], made["cam"]) == ([], b"")


def test_no_images_have_no_cams(net):
    assert _predict([], net, Cams()) == []


def test_an_image_that_is_too_large_is_an_error(net, rows):
    with pytest.raises(ValueError, match="pixels"):
        CamPredictor(net).predict_rows(rows, 1000)


def test_a_saved_network_is_loaded_ready_to_predict(net, rows, tmp_path):
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    loaded = load_cam_net(str(tmp_path / "model.safetensors"), "small_resnet", NUM_CLASSES)
    assert not loaded.training
    cams = Cams(scales=(1.0,))
    assert _predict(rows, loaded.cpu(), cams) == _predict(rows, net, cams)
