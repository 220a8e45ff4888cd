import copy

import numpy as np
import pytest
import torch
from PIL import Image as pil
from torch import nn
from torch.nn import functional as F

from qaclims_ray.model import irn
from qaclims_ray.model.irn_losses import irn_losses
from qaclims_ray.model.resnet import BACKBONES, Backbone


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return irn.build_irn("small_resnet")


def _images(*size):
    return torch.randn(*size, generator=torch.manual_seed(1))


def test_output_has_the_stride_of_the_stem(net):
    for height, width in ((64, 64), (75, 101)):
        edge, displacement = net(_images(2, 3, height, width))
        assert edge.shape == (2, 1, (height - 1) // 4 + 1, (width - 1) // 4 + 1)
        assert displacement.shape == (2, 2, *edge.shape[2:])


def test_backbone_stays_fixed_in_train_mode(net):
    net.train()
    assert not any(module.training for module in net.backbone.modules())
    before = net.backbone.bn1.running_mean.clone()
    net(_images(2, 3, 32, 32)).edge.sum().backward()
    assert torch.equal(net.backbone.bn1.running_mean, before)
    assert all(parameter.grad is None for parameter in net.backbone.parameters())


def test_parameter_groups_hold_all_that_trains(net):
    groups = [parameter for group in net.parameter_groups() for parameter in group]
    trained = {id(p) for p in net.parameters() if p.requires_grad}
    assert {id(parameter) for parameter in groups} == trained
    assert len(groups) == len(trained)


def test_losses_train_every_parameter(net):
    net.train().zero_grad()
    relations = net(_images(2, 3, 48, 48))
    seeds = torch.arange(2 * 12 * 12).view(2, 12, 12) // 6 % 3
    irn_losses(relations, seeds, radius=3).total.backward()
    for group in net.parameter_groups():
        assert all(parameter.grad.abs().sum() > 0 for parameter in group)


def test_mean_displacement_counts_in_eval_mode_only():
    shift = irn.MeanShift(2)
    shift.running_mean.copy_(torch.tensor([0.5, -1.0]))
    field = torch.zeros(1, 2, 1, 1)
    assert torch.equal(shift.train()(field), field)
    assert shift.eval()(field).flatten().tolist() == [-0.5, 1.0]


def _tiny_net():
    """Random, with the strides of ResNet-50 at output stride 16."""
    layers = [
        nn.Identity(),
        *(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in "23"),
        nn.Identity(),
    ]
    conv1 = nn.Conv2d(3, 8, 7, stride=2, padding=3)
    return irn.Irn(Backbone(conv1, layers, num_features=8, stride=16)).eval()


@pytest.mark.parametrize("make", [_tiny_net, lambda: irn.build_irn("small_resnet").eval()])
def test_labels_are_reduced_to_the_cells_of_the_network_for_all_sides(make):
    net = make()
    for height in range(1, 65):
        width = 65 - height
        with torch.no_grad():
            edge, displacement = net(torch.zeros(1, 3, height, width))
        cells = irn.reduce_labels(torch.zeros(1, height, width, dtype=torch.uint8)).shape[1:]
        assert edge.shape[2:] == displacement.shape[2:] == cells
        assert irn.predict_boundaries(net, torch.zeros(1, 3, height, width)).edge.shape[1:] == cells


def test_reduced_labels_are_those_of_the_middle_pixel():
    labels = torch.arange(45)[None, None].expand(1, 3, 45)
    assert irn.reduce_labels(labels)[0, 0].tolist() == [*range(2, 45, 4), 44]
    assert irn.reduce_labels(labels.mT)[0, :, 0].tolist() == [*range(2, 45, 4), 44]
    assert irn.reduce_labels(labels[..., :1])[0].tolist() == [[0]]


@pytest.mark.parametrize("size", [(64, 64), (48, 512), (4, 8)])
def test_reduced_labels_are_pillows(size):
    labels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    small = pil.fromarray(labels).resize((size[1] // 4, size[0] // 4), pil.Resampling.NEAREST)
    reduced = irn.reduce_labels(torch.from_numpy(labels)[None])
    assert reduced.dtype == torch.uint8
    np.testing.assert_array_equal(reduced[0], np.array(small))


def test_weights_of_the_backbone_are_loaded(tmp_path):
    weights = BACKBONES["small_resnet"]().state_dict()
    torch.save(weights, tmp_path / "backbone.pth")
    net = irn.build_irn("small_resnet", tmp_path / "backbone.pth")
    torch.testing.assert_close(net.backbone.state_dict(), weights)


def test_a_backbone_without_five_maps_is_refused():
    with pytest.raises(ValueError, match=r"no backbone 'timm:resnet50': it takes \['resnet50', "):
        irn.build_irn("timm:resnet50")


def test_mean_displacement_is_that_of_all_cells(net):
    batches = [_images(2, 3, 32, 40), 3 * _images(1, 3, 64, 33), _images(3, 3, 17, 16)]
    with torch.no_grad():
        fields = [net.train()(images).displacement for images in batches]
    expected = torch.cat([field.movedim(1, -1).flatten(0, 2) for field in fields]).mean(0)
    torch.testing.assert_close(irn.mean_displacement(net, batches), expected)


def test_mean_displacement_is_subtracted_once(net):
    net = copy.deepcopy(net).eval()
    batches = [_images(2, 3, 32, 40), _images(2, 3, 24, 24)]
    first = irn.mean_displacement(net, iter(batches))
    assert not net.mean_shift.running_mean.any()
    net.mean_shift.running_mean.copy_(first)
    torch.testing.assert_close(irn.mean_displacement(net, batches), first)
    torch.testing.assert_close(irn.mean_displacement(net.train(), batches), first)
    shifted = irn.predict_boundaries(net.eval(), batches[0]).displacement
    plain = net.train()(batches[0]).displacement
    torch.testing.assert_close(shifted, (plain - first[:, None, None]).detach())


def test_mean_displacement_of_no_images_is_refused(net):
    with pytest.raises(ValueError, match="no images"):
        irn.mean_displacement(net, [])


@pytest.mark.parametrize("min_side", [0, 256])
def test_channels_last_maps_are_as_good_as_contiguous_ones(net, min_side):
    net = copy.deepcopy(net).double().eval()
    images = _images(2, 3, 40, 52)
    exact = irn.predict_boundaries(net, images.double(), min_side)
    net = net.float().to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    for found, expected in zip(irn.predict_boundaries(net, images, min_side), exact, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)


def test_padding_lies_right_and_below_of_image_and_mirror_image(net):
    net.eval()
    images = _images(2, 3, 30, 45)
    edge, displacement = irn.predict_boundaries(net, images, min_side=40)
    with torch.no_grad():
        plain = net(F.pad(images, (0, 0, 0, 10)))
        mirrored = net(F.pad(images.flip(-1), (0, 0, 0, 10)))
    assert edge.shape == (2, 8, 12)
    logits = plain.edge[:, 0, :8] + mirrored.edge[:, 0, :8].flip(-1)
    torch.testing.assert_close(edge, (logits / 2).sigmoid())
    torch.testing.assert_close(displacement, plain.displacement[:, :, :8])
    unpadded = irn.predict_boundaries(net, images)
    assert not torch.allclose(unpadded.edge, edge, atol=1e-3)
    torch.testing.assert_close(irn.predict_boundaries(net, images, min_side=30), unpadded)


def test_prediction_of_a_mirror_image_is_mirrored(net):
    net.eval()
    images = _images(1, 3, 64, 64)
    edge = irn.predict_boundaries(net, images).edge
    mirrored = irn.predict_boundaries(net, images.flip(-1)).edge
    torch.testing.assert_close(mirrored.flip(-1), edge)
    assert ((edge >= 0) & (edge <= 1)).all()


def test_prediction_of_a_batch_is_that_of_each_image(net):
    net.eval()
    images = _images(3, 3, 40, 52)
    together = irn.predict_boundaries(net, images)
    for index in range(3):
        alone = irn.predict_boundaries(net, images[index : index + 1])
        torch.testing.assert_close(together.edge[index], alone.edge[0])
        torch.testing.assert_close(together.displacement[index], alone.displacement[0])
