import pytest
import torch
import torchvision.models.resnet as tv

from qaclims_ray.model.residual import BasicBlock, bottleneck_resnet, shortcut
from qaclims_ray.model.resnet import Backbone


def _equal(ours: torch.nn.Module, theirs: torch.nn.Module, *size: int) -> None:
    """The same names, and with the same weights the same output, gradients and statistics."""
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(size)
    outputs = [net.train()(images) for net in (ours, theirs)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().mean().backward()
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None
        assert torch.equal(mine.grad, its.grad)
    after = theirs.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("stride", [1, 2])
def test_a_basic_block_is_torchvisions(stride):
    torch.manual_seed(0)
    theirs = tv.BasicBlock(8, 12, stride, shortcut(8, 12, stride))
    _equal(BasicBlock(8, 12, stride, shortcut(8, 12, stride)), theirs, 2, 8, 9, 10)


class _Theirs(torch.nn.Module):
    """Torchvision's ResNet without pooling and classifier."""

    def __init__(self, net: tv.ResNet) -> None:
        super().__init__()
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(net, name))

    def forward(self, images):
        for module in self.children():
            images = module(images)
        return images


def test_a_resnet_is_torchvisions():
    torch.manual_seed(0)
    theirs = _Theirs(tv.ResNet(tv.Bottleneck, [1, 2, 1, 1]))
    ours = Backbone(*bottleneck_resnet((1, 2, 1, 1)), num_features=2048, stride=32)
    _equal(ours, theirs, 2, 3, 64, 65)


def test_its_random_weights_are_distributed_as_torchvisions():
    theirs = tv.ResNet(tv.Bottleneck, [1, 1, 1, 1]).state_dict()
    parts = bottleneck_resnet((1, 1, 1, 1))
    ours = Backbone(*parts, num_features=2048, stride=32).state_dict()
    for name, weight in ours.items():
        if weight.numel() == 1:  # a count of batches
            assert torch.equal(weight, theirs[name])
            continue
        spread = 0.2 if weight.numel() < 10_000 else 0.05
        assert weight.float().std().item() == pytest.approx(
            theirs[name].float().std().item(), rel=spread
        ), name
