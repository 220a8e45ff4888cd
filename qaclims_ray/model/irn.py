"""The boundary and displacement network (IRN), and how it predicts.

Source: Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
Relations" (CVPR 2019); published code `net/resnet50_irn.py`, `step/train_irn.py`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from qaclims_ray.model.resnet import BACKBONES, Backbone
from qaclims_ray.model.shapes import Images


class Relations(NamedTuple):
    """The network's output for each cell, at the stride of the backbone's stem."""

    edge: Float[Tensor, "B 1 h w"]
    """Boundary logits."""
    displacement: Float[Tensor, "B 2 h w"]
    """Offset (y, x) to the centre of the cell's object, in cells."""


class MeanShift(nn.Module):
    """Subtracts a mean field in eval mode; `running_mean` is set once, after training."""

    running_mean: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(num_features))

    def forward(self, field: Float[Tensor, "B F h w"]) -> Float[Tensor, "B F h w"]:
        """Return the field in train mode, the field without its mean in eval mode."""
        return field if self.training else field - self.running_mean[:, None, None]


class _GroupNorm(nn.GroupNorm):
    """Group norm of contiguous maps; of channels-last ones torch's CPU kernel loses 3 digits."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input.contiguous())


class Irn(nn.Module):
    """Boundary and displacement branches upon the five feature maps of a fixed backbone.

    The backbone gets no gradient and stays in eval mode. `edge_layers` and `dp_layers` are named as
    in published checkpoints.
    """

    stride: int
    """Pixels per cell of the output, 4 for all our backbones."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        widths, strides = _shapes(backbone)
        self.stride = strides[0]
        self.edge_layers = _edge_layers(widths, strides)
        self.dp_layers = _displacement_layers(widths, strides)

    def forward(self, images: Images) -> Relations:
        """Predict boundary logits and displacements of (side - 1) // 4 + 1 cells a side."""
        with torch.no_grad():
            maps = self.backbone.stages(images)
        *edge_branches, edge_head = self.edge_layers
        *dp_branches, dp_merge, dp_head = self.dp_layers
        edges = [branch(x) for branch, x in zip(edge_branches, maps, strict=True)]
        fields = [branch(x) for branch, x in zip(dp_branches, maps, strict=True)]
        coarse = dp_merge(_joined(fields[2:]))
        return Relations(edge_head(_joined(edges)), dp_head(_joined([*fields[:2], coarse])))

    def train(self, mode: bool = True) -> "Irn":
        """Set the mode of all but the backbone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Split what trains: boundary branch, and displacement branch (at 10 times the rate)."""
        return list(self.edge_layers.parameters()), list(self.dp_layers.parameters())

    @property
    def mean_shift(self) -> MeanShift:
        """The layer that holds and subtracts the mean displacement, see `mean_displacement`."""
        return next(module for module in self.dp_layers.modules() if isinstance(module, MeanShift))


def _shapes(backbone: Backbone) -> tuple[list[int], list[int]]:
    """Channels and strides of the five feature maps."""
    side = 64
    weight = backbone.conv1.weight
    with torch.no_grad():
        maps = backbone.stages(weight.new_zeros(1, 3, side, side))
    return [x.shape[1] for x in maps], [side // x.shape[-1] for x in maps]


def _edge_layers(widths: list[int], strides: list[int]) -> nn.ModuleList:
    """A branch per feature map, upsampled to the stride of the first two, and their merger."""
    branches = [
        _branch(width, 32, 4, stride // strides[1])
        for width, stride in zip(widths, strides, strict=True)
    ]
    return nn.ModuleList([*branches, nn.Conv2d(5 * 32, 1, kernel_size=1)])


def _displacement_layers(widths: list[int], strides: list[int]) -> nn.ModuleList:
    """A branch per feature map, the merger of the three coarse ones, and that of all."""
    fine, coarse = strides[1:3]
    branches = [
        _branch(widths[0], 64, 8),
        _branch(widths[1], 128, 16),
        *(_branch(widths[i], 256, 16, strides[i] // coarse) for i in (2, 3, 4)),
    ]
    head = nn.Sequential(
        *_branch(64 + 128 + 256, 256, 16),
        nn.Conv2d(256, 2, kernel_size=1, bias=False),
        MeanShift(2),
    )
    return nn.ModuleList([*branches, _branch(3 * 256, 256, 16, coarse // fine), head])


def _branch(num_in: int, num_out: int, num_groups: int, scale: int = 1) -> nn.Sequential:
    upsample = [nn.Upsample(scale_factor=scale, mode="bilinear")] if scale > 1 else []
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, kernel_size=1, bias=False),
        _GroupNorm(num_groups, num_out),
        *upsample,
        nn.ReLU(inplace=True),
    )


def _joined(maps: list[Tensor]) -> Float[Tensor, "B F h w"]:
    """Concatenated; upsampled maps may be some cells larger than the first."""
    height, width = maps[0].shape[-2:]
    return torch.cat([x[..., :height, :width] for x in maps], dim=1)


def build_irn(backbone_name: str, backbone_weights: str | Path | None = None) -> Irn:
    """Build a boundary and displacement network with fresh branches.

    Args:
        backbone_name: A name of `resnet.BACKBONES`.
        backbone_weights: See `cam_net.build_cam_net`; None: random.

    Raises:
        ValueError: no such backbone; weights that aren't there or don't fit.
    """
    if backbone_name not in BACKBONES:
        raise ValueError(
            f"the boundary network has no backbone {backbone_name!r}: it takes {sorted(BACKBONES)}"
        )
    net = BACKBONES[backbone_name]()
    if backbone_weights is not None:
        net.load(backbone_weights)
    return Irn(net)


@torch.no_grad()
def mean_displacement(net: Irn, batches: Iterable[Float[Tensor, "_ 3 _ _"]]) -> Float[Tensor, "2"]:
    """Average the displacements (y, x) over all cells of all images, in cells.

    The losses compare displacements with each other, so that all of them may be off by a constant.
    The published code measures it after the last epoch, on the top left 512 x 512 pixels of the
    training images (`step/train_irn.py`), and subtracts it from then on:
    `net.mean_shift.running_mean.copy_(mean_displacement(net, batches))`. A mean that the network
    subtracts already is added again.

    Raises:
        ValueError: there are no images.
    """
    total, num_cells = torch.zeros(2, dtype=torch.float64), 0
    for images in batches:
        field = net(images).displacement
        total += field.sum(dim=(0, 2, 3), dtype=torch.float64).cpu()
        num_cells += field[:, 0].numel()
    if not num_cells:
        raise ValueError("there are no images to take the mean displacement of")
    subtracted = net.mean_shift.running_mean * (not net.training)
    return total.to(subtracted) / num_cells + subtracted


class Boundaries(NamedTuple):
    """The prediction for images of one size, in (side - 1) // 4 + 1 cells."""

    edge: Float[Tensor, "B h w"]
    """Boundary probabilities in [0, 1]."""
    displacement: Float[Tensor, "B 2 h w"]
    """Offset (y, x) to the centre of the cell's object, in cells."""


@torch.no_grad()
def predict_boundaries(net: Irn, images: Images, min_side: int = 0) -> Boundaries:
    """Predict boundaries from images and their mirror images, displacements from the images alone.

    The logits of both are averaged, then squashed (published `EdgeDisplacement`). As there, the
    cells of a mirror image lie (width - 1) % 4 pixels right of those that they are averaged with.

    Args:
        net: In eval mode.
        images: Of one size.
        min_side: Pad shorter sides up to it, right and below, with the mean colour: 0 in QA-CLIMS,
            512 in the original IRN. It changes the boundaries of all cells, not only at the border,
            since group norms take the mean over the padded map.
    """
    assert not net.training
    height, width = ((side - 1) // net.stride + 1 for side in images.shape[-2:])
    below, right = (max(0, min_side - side) for side in images.shape[-2:])
    pairs = F.pad(torch.cat([images, images.flip(-1)]), (0, right, 0, below))
    edge, displacement = (at_least_float32(x)[..., :height, :width] for x in net(pairs))
    plain, mirrored = edge.squeeze(1).chunk(2)
    return Boundaries((plain / 2 + mirrored.flip(-1) / 2).sigmoid(), displacement[: len(images)])


def at_least_float32(x: Tensor) -> Tensor:
    """Convert bfloat16 and float16, which cannot tell a boundary of 1 - 1e-5 from 1, to float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def reduce_labels(labels: Integer[Tensor, "B H W"], stride: int = 4) -> Integer[Tensor, "B h w"]:
    """Pick a label for each cell of the network's output: that of the pixel in its middle.

    Cells begin at multiples of the stride; the middle is `stride // 2` further (published: Pillow's
    nearest neighbour). Where the last cell is cut off before that, its last pixel counts.
    """
    rows, columns = (
        (torch.arange(0, side, stride, device=labels.device) + stride // 2).clamp(max=side - 1)
        for side in labels.shape[-2:]
    )
    return labels[:, rows[:, None], columns]
