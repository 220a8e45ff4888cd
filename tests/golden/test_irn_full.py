"""From image and CAMs to label map through the boundary network, and its training labels."""

from functools import cache

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from qaclims_ray.images.transforms import NEAREST, hflip, normalise, random_crop, rescale
from qaclims_ray.model.affinity import random_walk
from qaclims_ray.model.irn import build_irn, predict_boundaries, reduce_labels
from qaclims_ray.model.irn_losses import pair_labels
from qaclims_ray.refine.walk import scores_to_mask
from qaclims_ray.types import IGNORE

MIN_SIDE = {"qa": 0, "irn": 512}
BACKGROUNDS = {"20": 0.2, "25": 0.25}
BOTH = [("a", "qa"), ("a", "irn"), ("b", "qa"), ("b", "irn")]


@pytest.fixture(scope="module")
def data(golden):
    return golden("irn_full")


@pytest.fixture(scope="module")
def net_of(data, filler):
    """The network with the edge head of a variant."""
    net, config = build_irn("resnet50").eval(), data.meta["config"]
    filler.fill_module(net, _canonical)
    net.mean_shift.running_mean.copy_(torch.tensor(config["mean_shift_running_mean"]))
    head = net.edge_layers[-1]
    weight = head.weight.detach().clone()

    def with_head(variant):
        changed = config["edge_head"][variant]
        factor = float(changed["fc_edge6.weight"].removeprefix("filler value times "))
        head.weight.data.copy_(factor * weight)
        head.bias.data.fill_(changed["fc_edge6.bias"])
        return net

    return with_head


def _canonical(name):
    kind, _, rest = name.partition(".")
    if kind == "backbone":
        return f"resnet50.{rest}"
    index, _, rest = rest.partition(".")
    return f"fc_{kind.removesuffix('_layers')}{int(index) + 1}.{rest}"


@pytest.fixture(scope="module")
def predict(data, net_of):
    """Boundaries of a case and variant."""

    @cache
    def run(case, variant):
        return predict_boundaries(net_of(variant), _images(data, case), MIN_SIDE[variant])

    return run


def _images(data, case):
    return torch.from_numpy(normalise(data.arrays[f"{case}_img_u8"]))[None]


def _masked(data, case, edge, background, cams=None):
    return scores_to_mask(
        random_walk(data[f"{case}_cam"] if cams is None else cams, edge),
        data.arrays[f"{case}_keys"].tolist(),
        data.arrays[f"{case}_img_u8"].shape[:2],
        background=background,
    )


@pytest.mark.parametrize(("case", "variant"), BOTH)
def test_boundaries(data, predict, case, variant):
    edge, displacement = predict(case, variant)
    torch.testing.assert_close(edge, data[f"{case}_{variant}_edge"], rtol=0, atol=2e-5)
    expected = data[f"{case}_{variant}_dp"]
    torch.testing.assert_close(displacement[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("case", "variant"), BOTH)
def test_logits_of_image_and_mirror_image(data, net_of, case, variant):
    images = _images(data, case)
    below, right = (max(0, MIN_SIDE[variant] - side) for side in images.shape[-2:])
    expected = data[f"{case}_{variant}_edge_logit"]
    with torch.no_grad():
        pair = F.pad(torch.cat([images, images.flip(-1)]), (0, right, 0, below))
        logits = net_of(variant)(pair).edge[:, 0, : expected.shape[1], : expected.shape[2]]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("case", "variant"), BOTH)
def test_channels_last_images_have_the_same_boundaries(data, net_of, predict, case, variant):
    images = _images(data, case).contiguous(memory_format=torch.channels_last)
    edge = predict_boundaries(net_of(variant), images, MIN_SIDE[variant]).edge
    torch.testing.assert_close(edge, predict(case, variant).edge, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("case", "variant"), BOTH)
def test_walk(data, predict, case, variant):
    expected = data[f"{case}_{variant}_rw"][:, 0]
    stored, own = data[f"{case}_{variant}_edge"][0], predict(case, variant).edge[0]
    for edge, tolerance in ((stored, 5e-4), (own, 2e-3)):
        scores = random_walk(data[f"{case}_cam"], edge)
        atol = tolerance * float(expected.max())
        torch.testing.assert_close(scores, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("case", "variant"), BOTH)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_label_maps(data, predict, case, variant, background):
    expected = data.arrays[f"{case}_{variant}_label_{background}"]
    stored, own = data[f"{case}_{variant}_edge"][0], predict(case, variant).edge[0]
    for edge, agreement in ((stored, 0.999), (own, 0.995)):
        mask = _masked(data, case, edge, BACKGROUNDS[background])
        assert mask.dtype == np.uint8
        assert (mask == expected).mean() >= agreement


@pytest.mark.parametrize("case", ["a", "b"])
def test_a_class_without_any_cam_is_harmless(data, case):
    cams = data[f"{case}_cam"].clone()
    cams[0] = 0
    mask = _masked(data, case, data[f"{case}_qa_edge"][0], 0.2, cams)
    assert (mask == data.arrays[f"{case}_onezero_label_20"]).mean() >= 0.999


@pytest.mark.parametrize("case", ["a", "b"])
def test_a_common_factor_of_the_cams_changes_nothing(data, case):
    edge, cams = data[f"{case}_qa_edge"][0], data[f"{case}_cam"]
    mask = _masked(data, case, edge, 0.2, cams * 0.37)
    assert (mask == _masked(data, case, edge, 0.2)).mean() >= 0.999


@pytest.mark.parametrize("case", ["a", "b"])
def test_without_any_cam_all_is_background(data, case):
    """The published code divides 0 by 0 there, and gives every pixel the first class."""
    edge, cams = data[f"{case}_qa_edge"][0], torch.zeros_like(data[f"{case}_cam"])
    published = data.arrays[f"{case}_allzero_label_20"]
    assert (published == data.arrays[f"{case}_keys"][0] + 1).all()
    assert not _masked(data, case, edge, 0.2, cams).any()
    scores = random_walk(cams[:0], edge)
    assert not scores_to_mask(scores, [], published.shape, background=0.2).any()


class _Drawn(np.random.Generator):
    """A random generator whose draws are known."""

    def __init__(self, *values):
        super().__init__(np.random.PCG64())
        self._values = iter(values)

    def integers(self, high):
        value = next(self._values)
        assert 0 <= value < high
        return value


def _offsets(box):
    """Where the window begins in the longer of image and window: across, then down."""
    container_y, _, container_x, _, image_y, _, image_x, _ = box.tolist()
    return max(container_x, image_x), max(container_y, image_y)


def _labels_view(data, case):
    """Seeds scaled, mirrored and cropped by the draws of the case."""
    seeds = rescale(data.arrays[f"{case}_label"], float(data.arrays[f"{case}_scale"]), NEAREST)
    if data.arrays[f"{case}_flip"]:
        seeds = hflip(seeds)
    offsets = _offsets(data.arrays[f"{case}_box"])
    return random_crop(seeds, data.meta["measured"][case]["crop"], _Drawn(*offsets), IGNORE)


@pytest.mark.parametrize("case", ["L1", "L2", "L3"])
def test_training_view_of_an_image(data, case):
    image = rescale(data.arrays[f"{case}_img_u8"], float(data.arrays[f"{case}_scale"]))
    assert list(image.shape[:2]) == data.meta["measured"][case]["scaled_size"]
    if data.arrays[f"{case}_flip"]:
        image = hflip(image)
    offsets = _offsets(data.arrays[f"{case}_box"])
    pixels = random_crop(normalise(image), data.meta["measured"][case]["crop"], _Drawn(*offsets))
    expected = data.arrays[f"{case}_crop_img"]
    np.testing.assert_allclose(pixels[:, ::4, ::4], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["L1", "L2", "L3"])
def test_training_view_of_seeds(data, case):
    np.testing.assert_array_equal(_labels_view(data, case), data.arrays[f"{case}_crop_label"])


@pytest.mark.parametrize("case", ["L1", "L2", "L3"])
def test_pairs_of_a_training_view(data, case):
    facts = data.meta["measured"][case]
    reduced = reduce_labels(data[f"{case}_crop_label"][None])
    assert torch.equal(reduced[0], data[f"{case}_reduced"])
    labels = pair_labels(reduced, facts["radius"])
    assert labels.counts().tolist() == list(facts["counts"].values())
    for pairs, key in zip(labels, facts["counts"], strict=True):
        bits = pairs[0].flatten(1).numpy()
        assert bits.shape == (facts["n_dst"], facts["n_src"])
        np.testing.assert_array_equal(np.packbits(bits, axis=1), data.arrays[f"{case}_{key}"])
