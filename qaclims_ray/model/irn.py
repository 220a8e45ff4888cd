"""The boundary and displacement network (IRN), what it is trained with and how it predicts.

Source: Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
Relations" (CVPR 2019); published code `net/resnet50_irn.py`, `step/train_irn.py`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from qaclims_ray.model.affinity import affinities, search_paths, shifted
from qaclims_ray.model.resnet import Backbone, backbone
from qaclims_ray.types import IGNORE, Images

_EPSILON = 1e-5


class Relations(NamedTuple):
    """What the network says of each cell, at the stride of the backbone's stem."""

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
        """The field in train mode, the field without its mean in eval mode."""
        return field if self.training else field - self.running_mean[:, None, None]


class Irn(nn.Module):
    """Boundary and displacement branches upon the five feature maps of a fixed backbone.

    The backbone gets no gradient and stays in eval mode. `edge_layers` and `dp_layers` are named as
    in published checkpoints.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        widths, strides = _shapes(backbone)
        self.edge_layers = _edge_layers(widths, strides)
        self.dp_layers = _displacement_layers(widths, strides)

    def forward(self, images: Images) -> Relations:
        """Boundary logits and displacements at the stem's stride: (size - 1) // 4 + 1 cells."""
        with torch.no_grad():
            maps = self.backbone.stages(images)
        *edge_branches, edge_head = self.edge_layers
        *dp_branches, dp_merge, dp_head = self.dp_layers
        edges = [branch(x) for branch, x in zip(edge_branches, maps, strict=True)]
        fields = [branch(x) for branch, x in zip(dp_branches, maps, strict=True)]
        coarse = dp_merge(_joined(fields[2:]))
        return Relations(edge_head(_joined(edges)), dp_head(_joined([*fields[:2], coarse])))

    def train(self, mode: bool = True) -> "Irn":
        """Train mode, but for the backbone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the boundary branch, and of the displacement branch (10 times the rate)."""
        return list(self.edge_layers.parameters()), list(self.dp_layers.parameters())


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
        nn.GroupNorm(num_groups, num_out),
        *upsample,
        nn.ReLU(inplace=True),
    )


def _joined(maps: list[Tensor]) -> Float[Tensor, "B F h w"]:
    """Concatenated; upsampled maps may be some cells larger than the first."""
    height, width = maps[0].shape[-2:]
    return torch.cat([x[..., :height, :width] for x in maps], dim=1)


def build_irn(backbone_name: str) -> Irn:
    """A boundary and displacement network upon the named backbone, both randomly initialised."""
    return Irn(backbone(backbone_name))


class PairLabels(NamedTuple):
    """What the seeds say of each pair of nearby cells (for pairs see `affinity.shifted`)."""

    background: Bool[Tensor, "B n h w"]
    """Both are background."""
    foreground: Bool[Tensor, "B n h w"]
    """Both are of the same class."""
    different: Bool[Tensor, "B n h w"]
    """Labels differ. A pair with an ignored cell is none of the three."""


def pair_labels(seeds: Integer[Tensor, "B h w"], radius: int) -> PairLabels:
    """Relations of all pairs of cells closer than `radius`, from label maps at the stride."""
    source = shifted(seeds, [(0, 0)], radius)
    target = shifted(seeds, [path[0] for path in search_paths(radius)], radius)
    valid = (source != IGNORE) & (target != IGNORE)
    same = source == target
    return PairLabels(valid & same & (source == 0), valid & same & (source > 0), valid & ~same)


def reduce_labels(labels: Integer[Tensor, "B H W"], stride: int = 4) -> Integer[Tensor, "B h w"]:
    """Nearest label of each cell: the pixel at (stride // 2, stride // 2) of it."""
    return labels[:, stride // 2 :: stride, stride // 2 :: stride]


class IrnLosses(NamedTuple):
    """The four terms, each a mean over its pairs."""

    positive: Float[Tensor, ""]
    """-log affinity of pairs of one label: half background pairs, half foreground pairs."""
    negative: Float[Tensor, ""]
    """-log(1 - affinity) of pairs of different labels."""
    foreground: Float[Tensor, ""]
    """Error of displacement differences of foreground pairs, in cells."""
    background: Float[Tensor, ""]
    """Displacement differences of background pairs, which should be 0, in cells."""

    def total(self) -> Float[Tensor, ""]:
        """What training minimises."""
        return (self.positive + self.negative) / 2 + (self.foreground + self.background) / 2


def irn_losses(
    relations: Relations, seeds: Integer[Tensor, "B h w"], radius: int = 10
) -> IrnLosses:
    """The published losses; `seeds` are label maps at the stride of the network's output."""
    labels = pair_labels(seeds, radius)
    attract, repel, astray, moved = pair_losses(relations, radius)
    return IrnLosses(
        positive=(_mean(attract, labels.background) + _mean(attract, labels.foreground)) / 2,
        negative=_mean(repel, labels.different),
        foreground=_mean(astray, labels.foreground[:, None]),
        background=_mean(moved, labels.background[:, None]),
    )


def pair_losses(
    relations: Relations, radius: int
) -> tuple[
    Float[Tensor, "B n h w"],
    Float[Tensor, "B n h w"],
    Float[Tensor, "B 2 n h w"],
    Float[Tensor, "B 2 n h w"],
]:
    """What each term of `IrnLosses` is a mean of, in their order, of all pairs of cells.

    Computed in float32 at least: 1 + 1e-5 is 1 in bfloat16.
    """
    edge, field = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in relations)
    affinity = affinities(edge.squeeze(1).sigmoid(), radius)
    attract = -torch.log(affinity + _EPSILON)
    repel = -torch.log(1 + _EPSILON - affinity)
    ends = [path[0] for path in search_paths(radius)]
    moved = shifted(field, [(0, 0)], radius) - shifted(field, ends, radius)
    target = moved.new_tensor(ends).T[:, :, None, None]
    return attract, repel, (moved - target).abs(), moved.abs()


def _mean(values: Float[Tensor, "..."], where: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean over the pairs; 0 without any."""
    count = where.sum() * (values.numel() // where.numel())
    return (values * where).sum() / (count + _EPSILON)


@torch.no_grad()
def predict_relations(net: Irn, images: Images) -> Relations:
    """Boundary probabilities, averaged over each image and its flip, and displacements.

    `net` must be in eval mode. Logits are averaged, then squashed (published `EdgeDisplacement`).
    """
    both = net(torch.cat([images, images.flip(-1)]))
    straight, flipped = both.edge.chunk(2)
    edge = (straight / 2 + flipped.flip(-1) / 2).sigmoid()
    return Relations(edge, both.displacement[: len(images)])
