"""Fusion of scales, for odd sizes, an all-zero map, tiny maxima, and no class at all."""

import pytest
import torch

from qaclims_ray.model.multiscale import fuse_scales, normalise_cams, resize_images

CASES = ["c0", "c1", "c2", "c3", "c4"]
SCALES = (1.0, 0.5, 1.5, 2.0)
RESOLUTIONS = {"strided": "strided_cam", "full": "high_res"}


@pytest.fixture(scope="module")
def make_cam(golden):
    return golden("make_cam")


@pytest.fixture(params=CASES)
def case(request, make_cam):
    return next(c for c in make_cam.meta["cases"] if c["key"] == request.param)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_fused_maps(make_cam, case, resolution):
    key = case["key"]
    classes = make_cam[f"{key}_label"].nonzero()[:, 0]
    assert torch.equal(classes, make_cam[f"{key}_keys"])
    maps = [make_cam[f"{key}_out{k}"][classes][:, None] for k in range(len(SCALES))]
    fused = normalise_cams(fuse_scales(maps, *case["size"], resolution))
    make_cam.check(fused[:, 0], f"{key}_{RESOLUTIONS[resolution]}")


def test_scaled_sizes(case):
    images = torch.zeros(1, 3, *case["size"])
    sizes = [list(resize_images(images, scale).shape[2:]) for scale in SCALES]
    assert sizes == case["scaled_sizes"]


def test_every_case_is_run(make_cam):
    assert [c["key"] for c in make_cam.meta["cases"]] == CASES
