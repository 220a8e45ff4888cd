"""Pixel-adaptive refinement, and the pseudo labels that published code makes of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from qaclims_ray.config.refine import Seeds
from qaclims_ray.model.par import (
    DILATIONS,
    pamr_affinity,
    par_affinity,
    position_weights,
    refine_scores,
)
from qaclims_ray.refine.labelling import Pictured, seed_labeller
from qaclims_ray.refine.par import cam_probabilities, refine_labels
from qaclims_ray.refine.seeds import merge_labels
from qaclims_ray.types import IGNORE

AFFINITIES = {"par": par_affinity, "pamr": pamr_affinity}
REFINED = ["a_par_it1", "a_par_it10", "a_par_it20", "b_par_it10"]
REFINED += [name.replace("par", "pamr") for name in REFINED]


@pytest.fixture(scope="module")
def data(golden):
    return golden("par")


def _images(data, key):
    """uint8, channels first or last, to floats in [0, 1], channels first."""
    images = data[key]
    return (images if images.shape[1] == 3 else images.permute(0, 3, 1, 2)).float() / 255


def _scores(data, key):
    return data[key].float()


def _check(actual, expected, relative=2e-5):
    """Within a share of the largest expected value."""
    limit = relative * float(expected.max())
    torch.testing.assert_close(actual, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("name", REFINED)
def test_refined_scores(data, name):
    case, kind, steps = name.split("_")
    images, scores = _images(data, f"mod_{case}_img_u8"), _scores(data, f"mod_{case}_mask")
    num_steps = int(steps.removeprefix("it"))
    refined = refine_scores(images, scores, num_steps=num_steps, affinity=AFFINITIES[kind])
    _check(refined, data[f"mod_{name}"])


@pytest.mark.parametrize("kind", AFFINITIES)
@pytest.mark.parametrize("case", ["a", "b"])
def test_affinities(data, case, kind):
    weights = AFFINITIES[kind](_images(data, f"mod_{case}_img_u8"))
    y, x = data[f"mod_{case}_pix"].long().T
    expected = data[f"mod_{case}_{kind}_aff"]
    torch.testing.assert_close(weights[:, :, y, x].transpose(1, 2), expected, rtol=0, atol=1e-5)


def test_position_weights(data):
    weights = position_weights(DILATIONS).float()
    torch.testing.assert_close(weights, data["pos_weight"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("low_par_toco", "images", "par"),
        ("low_par_weclip", "scores", "par"),
        ("low_pamr", "images", "pamr"),
    ],
)
def test_scores_smaller_than_the_image(data, name, size, kind):
    images, scores = _images(data, "mod_a_img_u8"), _scores(data, "low_mask")
    refined = refine_scores(images, scores, size=size, affinity=AFFINITIES[kind])
    _check(refined, data[name])


@pytest.mark.parametrize("kind", AFFINITIES)
def test_an_image_of_one_colour(data, kind):
    scores = _scores(data, "mod_a_mask")[:1]
    images = torch.full((1, 3, *scores.shape[2:]), 0.3)
    _check(refine_scores(images, scores, affinity=AFFINITIES[kind]), data[f"const_{kind}"])


def test_two_dilations(data):
    images, scores = _images(data, "mod_a_img_u8"), _scores(data, "mod_a_mask")
    refined = refine_scores(images, scores, num_steps=2, dilations=(1, 3))
    _check(refined, data["dil_1_3_par_it2"])


def test_pamr_at_the_size_of_the_scores(data):
    """1-stage-wseg, up to the thresholds of its own that follow."""
    scores = data["stage_logits"].softmax(1)
    refined = refine_scores(
        _images(data, "stage_img_u8"), scores, size="scores", affinity=pamr_affinity
    )
    _check(refined[:2], data["stage_dec"])


def _pipe(data, case):
    """Images as PAR sees them, which the published way back to uint8 darkens; CAMs; labels."""
    seen = data[f"pipe_{case}_img_u8"] - data[f"pipe_{case}_denorm_delta"]
    cams = data[f"pipe_{case}_cams_u8"].float() / 255
    return seen, cams, data[f"pipe_{case}_cls_label"] > 0


def _thresholds(data, name):
    return data.meta["config"]["high_low"]["ToCo VOC" if name == "toco" else "AFA"]


PIPES = pytest.mark.parametrize(
    ("case", "name"), [("a", "toco"), ("a", "afa"), ("b", "toco"), ("b", "afa")]
)


@PIPES
def test_scores_on_the_way_to_labels(data, case, name):
    """Of the first image and the high background score."""
    seen, cams, present = _pipe(data, case)
    images = seen.permute(0, 3, 1, 2).float() / 255
    size = (images.shape[2] // 2, images.shape[3] // 2)
    scores = cam_probabilities(cams, present, _thresholds(data, name), size)[:, 0]
    refined = refine_scores(F.interpolate(images, size, mode="bilinear"), scores)
    kept = [0, *(1 + present[0].nonzero()[:, 0])]
    if name == "toco":
        _check(scores[0, kept], data[f"pipe_{case}_toco_par_in_h0"])
    assert not scores[0, 1:][~present[0]].any()
    _check(refined[0, kept], data[f"pipe_{case}_{name}_par_out_h0"])


@PIPES
def test_labels_at_both_background_scores(data, case, name):
    seen, cams, present = _pipe(data, case)
    images = seen.permute(0, 3, 1, 2).float() / 255
    settings = {"num_steps": 10, "stride": 2}
    labels = refine_labels(images, cams, present, _thresholds(data, name), **settings)
    strict, lenient = labels.unbind(1)
    _check_labels(strict, data[f"pipe_{case}_{name}_label_h"])
    _check_labels(lenient, data[f"pipe_{case}_{name}_label_l"])


@PIPES
def test_seeds(data, case, name):
    """From arrays, each image with the CAMs of its own classes; the third has none."""
    seen, cams, present = _pipe(data, case)
    classes = [row.nonzero()[:, 0].tolist() for row in present]
    own = [maps[index].numpy() for maps, index in zip(cams, classes, strict=True)]
    high, low = _thresholds(data, name)
    label_seeds = seed_labeller(Seeds(kind="par", foreground=high, background=low), "cpu")
    pictured = [Pictured(*one) for one in zip(seen.numpy(), own, classes, strict=True)]
    seeds = label_seeds(pictured)
    labels = np.full((len(seeds), *seeds[0].shape), IGNORE, np.uint8)
    for label, seed, (top, bottom, left, right) in zip(
        labels, seeds, data[f"pipe_{case}_box"].tolist(), strict=True
    ):
        label[top:bottom, left:right] = seed[top:bottom, left:right]
    _check_labels(torch.from_numpy(labels), data[f"pipe_{case}_{name}_label"])


def test_labels_of_weclip(data):
    """Background is what no CAM claims; no threshold, no softmax, at the size of the image."""
    images, cams = _images(data, "pipe_b_img_u8")[:1], data["pipe_b_cams_u8"][:1, [1, 3]] / 255
    scores = torch.cat([1 - cams.amax(1, keepdim=True), cams], dim=1)
    refined = refine_scores(images, scores, num_steps=20, size="scores")[0]
    _check(refined[:, ::2, ::2], data["weclip_par_out"])
    _check_labels(torch.tensor([0, 2, 4])[refined.argmax(0)], data["weclip_label"])


def test_merged_labels(data):
    """The published merge of its own two labellings, inside the box."""
    for case, name in (("a", "toco"), ("b", "afa")):
        strict, lenient = (data[f"pipe_{case}_{name}_label_{which}"].numpy() for which in "hl")
        final = data[f"pipe_{case}_{name}_label"].numpy()
        for index, (top, bottom, left, right) in enumerate(data[f"pipe_{case}_box"].tolist()):
            box = (index, slice(top, bottom), slice(left, right))
            np.testing.assert_array_equal(merge_labels(strict[box], lenient[box]), final[box])


def _check_labels(actual, expected):
    """99.9 % of the pixels, as the file allows."""
    assert (actual == expected).float().mean() >= 0.999
