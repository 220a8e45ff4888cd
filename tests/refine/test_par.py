import numpy as np
import pytest
import torch

from qaclims_ray.config.refine import Seeds
from qaclims_ray.refine.labelling import Pictured, seed_labeller
from qaclims_ray.refine.par import cam_probabilities, par_label_maps, refine_labels
from qaclims_ray.refine.seeds import label_cams


def par_seeds(images, cams, classes, device="cpu", **thresholds):
    """Seeds of images of one size, as the stage makes them."""
    pictured = [Pictured(*one) for one in zip(images, cams, classes, strict=True)]
    return seed_labeller(Seeds(kind="par", **thresholds), device)(pictured)


def _image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _cams(num, height, width, seed=1):
    return np.random.default_rng(seed).random((num, height, width), np.float32)


def _two_halves():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 200
    return image


def test_seeds_snap_to_colours():
    """A blunt CAM that reaches over an edge, in a scene of two colours."""
    cams = np.repeat(np.linspace(1, 0, 60, dtype=np.float32)[None, None], 40, axis=1)
    (seeds,) = par_seeds([_two_halves()], [cams], [[6]], foreground=0.5, background=0.3)
    assert (label_cams(cams, 0.3)[:, 30:42] == 1).all()
    assert (seeds[:, :30] == 7).mean() > 0.99
    assert not (seeds[:, 30:] == 7).any()


def test_unsure_pixels_are_ignored():
    image, cams = np.zeros((6, 6, 3), np.uint8), np.full((1, 6, 6), 0.2, np.float32)
    assert (par_seeds([image], [cams], [[0]])[0] == 255).all()
    assert (par_seeds([image], [cams], [[0]], foreground=0.15)[0] == 1).all()
    assert (par_seeds([image], [cams], [[0]], background=0.25)[0] == 0).all()


def test_a_batch_equals_one_image_at_a_time():
    """However many classes the others have."""
    images = [_image(25, 34, seed) for seed in range(4)]
    classes = [[3], [], [0, 7, 253], [1, 2]]
    cams = [_cams(len(own), 7, 9, seed) for seed, own in enumerate(classes)]
    together = par_seeds(images, cams, classes)
    for seeds, *one in zip(together, images, cams, classes, strict=True):
        np.testing.assert_array_equal(seeds, par_seeds(*([each] for each in one))[0])
    assert not together[1].any()
    assert {254} < set(np.unique(together[2])) <= {0, 1, 8, 254, 255}


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 3)])
def test_small_images(size):
    (seeds,) = par_seeds([_image(*size)], [_cams(2, *size)], [[0, 4]])
    assert seeds.shape == size
    assert seeds.dtype == np.uint8
    assert set(np.unique(seeds)) <= {0, 1, 5, 255}


def test_images_without_classes_are_background():
    none = np.zeros((0, 7, 9), np.float32)
    for seeds in par_seeds([_image(25, 34)] * 2, [none, none], [[], []]):
        assert not seeds.any()


def test_background_scores_do_not_mix():
    images, cams = [_image(20, 30)], [_cams(2, 20, 30)]
    settings = {"num_steps": 10, "stride": 2, "device": "cpu"}
    (together,) = par_label_maps(images, cams, [[2, 5]], (0.8, 0.1, 0.5), **settings)
    for labels, threshold in zip(together, (0.8, 0.1, 0.5), strict=True):
        (alone,) = par_label_maps(images, cams, [[2, 5]], (threshold,), **settings)
        np.testing.assert_array_equal(labels, alone[0])


def test_absent_classes_do_not_count():
    images, cams = torch.rand(1, 3, 20, 30), torch.rand(1, 4, 20, 30)
    present = torch.tensor([[False, True, False, True]])
    every, settings = torch.ones(1, 2, dtype=torch.bool), {"num_steps": 10, "stride": 2}
    labels = refine_labels(images, cams, present, (0.3, 0.1), **settings)
    alone = refine_labels(images, cams[:, [1, 3]], every, (0.3, 0.1), **settings)
    assert torch.equal(labels, torch.tensor([0, 2, 4], dtype=torch.uint8)[alone.long()])


def test_no_step_labels_the_cams():
    cams = _cams(3, 20, 30)
    (labels,) = par_label_maps(
        [_image(20, 30)], [cams], [[0, 1, 2]], (0.4,), num_steps=0, stride=1, device="cpu"
    )
    np.testing.assert_array_equal(labels[0], label_cams(cams, 0.4))


def test_cams_of_half_precision_are_read():
    images, cams = [_image(20, 30)], _cams(2, 5, 8).astype(np.float16)
    half = par_seeds(images, [cams], [[0, 1]])[0]
    np.testing.assert_array_equal(half, par_seeds(images, [cams.astype(np.float32)], [[0, 1]])[0])


def test_probabilities():
    cams = torch.tensor([[[[0.0]], [[1.0]]]])
    present = torch.tensor([[False, True]])
    scores = cam_probabilities(cams, present, (0.0, 1.0), (1, 1))[0, :, :, 0, 0]
    raised = 1 / (1 + torch.e)
    expected = torch.tensor([[raised, 0, 1 - raised], [0.5, 0, 0.5]])
    torch.testing.assert_close(scores, expected)


@pytest.mark.gpu
def test_cpu_and_gpu_agree():
    images, cams, classes = (
        [_image(50, 60)] * 2,
        [_cams(2, 13, 15), _cams(1, 13, 15)],
        [[0, 4], [1]],
    )
    expected = np.stack(par_seeds(images, cams, classes))
    assert (np.stack(par_seeds(images, cams, classes, device="cuda")) == expected).mean() >= 0.999
