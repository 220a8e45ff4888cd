"""The CAM network: names, values of each stage, training and inference outputs, batch norm."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.multiscale import flipped_pair
from qaclims_ray.model.resnet import freeze_batch_norm

F64_RTOL = 1e-6


def canonical(name):
    """Published names call the backbone `resnet50`."""
    return name.replace("backbone.", "resnet50.", 1)


@pytest.fixture(scope="module")
def cam(golden):
    return golden("cam_network")


@pytest.fixture(scope="module")
def names(golden):
    return golden("cam_network_names").meta


@pytest.fixture(scope="module")
def net(filler):
    """The filled network in evaluation mode; tests leave it as it is."""
    net = build_cam_net("resnet50", 20).eval()
    filler.fill_module(net, canonical)
    return net


def check(cam, actual, key):
    """Relative to the maximum of the array, as the file's note says."""
    limits = cam.meta["tolerances"]
    expected = cam[key]
    largest = expected.abs().max().item()
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= limits["atol"] + limits["rtol"] * largest, key


def test_names_shapes_and_groups(names):
    with torch.device("meta"):
        net = build_cam_net("resnet50", 20)
    state = {canonical(n): list(v.shape) for n, v in net.state_dict().items()}
    assert state == {n: names["shapes"][n] for n in names["canonical"]}
    by_id = {id(p): canonical(n) for n, p in net.named_parameters()}
    backbone, head = ([by_id[id(p)] for p in group] for group in net.parameter_groups())
    assert backbone == names["param_group_0"]
    assert head == names["param_group_1"]
    frozen = sorted(canonical(n) for n, p in net.named_parameters() if not p.requires_grad)
    assert frozen == names["frozen_requires_grad_false"]


@torch.no_grad()
def test_evaluation(cam, net):
    logits = net(cam["x"])
    check(cam, logits, "raw_logits_eval")
    check(cam, logits.sigmoid(), "sigmoid_cam_eval")
    check(cam, net.classify(cam["x"]), "logits_gap_eval")
    for number, stage in enumerate(net.backbone.stages(cam["x"])[1:], start=1):
        check(cam, stage[:, :8], f"stage{number}_slice")


@torch.no_grad()
def test_inference_outputs_of_an_image_and_its_mirror_image(cam, net):
    image = cam["x_odd"]
    check(cam, net(torch.cat([image, image.flip(-1)])), "cam_separate_odd")
    check(cam, flipped_pair(net, image, "relu")[0], "cam_flip_odd")
    first, second = net(cam["x"]).relu()
    check(cam, first + second.flip(-1), "cam_flip_64")


@torch.no_grad()
def test_eighty_classes(cam, net, filler):
    head = nn.Conv2d(2048, 80, kernel_size=1, bias=False)
    filler.fill_module(head, prefix="classifier.")
    check(cam, head(net.backbone(cam["x"])).sigmoid(), "sigmoid_cam_eval_80")


@torch.no_grad()
def test_fixed_batch_norm_makes_train_mode_equal_evaluation(cam, net):
    check(cam, net.classify(cam["x"]), "baseline_logits_evalmode")
    net = copy.deepcopy(net).train()
    freeze_batch_norm(net)
    check(cam, net.classify(cam["x"]), "baseline_logits_trainmode")


def test_training_in_float64(cam, net):
    net = copy.deepcopy(net).double().train()
    images = F.interpolate(cam["x"].double(), (96, 96), mode="bilinear", align_corners=True)
    cams = net(images).sigmoid()
    (cams**2).sum().backward()
    gradients = {canonical(n): p.grad for n, p in net.named_parameters() if p.grad is not None}
    assert sorted(gradients) == cam.meta["train_grad_names"]
    norms = torch.stack([gradients[n].norm() for n in cam.meta["train_grad_names"]])
    actual = {
        "sigmoid_cam_train96": cams,
        "train_grad_norms": norms,
        "train_grad_classifier_slice": gradients["classifier.weight"][:, :16, 0, 0],
        "train_grad_l1c1_slice": gradients["resnet50.layer1.0.conv1.weight"][:16, :16, 0, 0],
    }
    for name in ("bn1", "layer1.0.bn1", "layer4.2.bn3"):
        norm = net.backbone.get_submodule(name)
        actual[f"rm_after_resnet50.{name}"] = norm.running_mean[:64]
        actual[f"rv_after_resnet50.{name}"] = norm.running_var[:64]
    for key, value in actual.items():
        expected = cam[f"{key}_f64"]
        torch.testing.assert_close(value.detach(), expected, rtol=F64_RTOL, atol=1e-12)
