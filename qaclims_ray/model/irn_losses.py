"""The losses of the boundary network (IRN), and the labels of pairs of cells that they compare.

Source: Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
Relations" (CVPR 2019), section 4; published code `net/resnet50_irn.py`
(`AffinityDisplacementLoss`), `step/train_irn.py`, `voc12/dataloader.py`
(`GetAffinityLabelFromIndices`).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional as F

from qaclims_ray.model.affinity import search_paths, shifted, strongest
from qaclims_ray.model.irn import Relations, at_least_float32
from qaclims_ray.types import BACKGROUND, IGNORE

_EPSILON = 1e-5


class PairLabels(NamedTuple):
    """The kind of each pair of nearby cells by their seeds (for pairs see `affinity.shifted`)."""

    background: Bool[Tensor, "B n h w"]
    """Both are background."""
    foreground: Bool[Tensor, "B n h w"]
    """Both are of the same class."""
    different: Bool[Tensor, "B n h w"]
    """Labels differ. A pair with an ignored cell is none of the three."""

    def counts(self) -> Float[Tensor, "3"]:
        """Count the pairs of each kind, in the order of the fields."""
        return torch.stack([pairs.sum() for pairs in self]).float()


def pair_labels(seeds: Integer[Tensor, "B h w"], radius: int) -> PairLabels:
    """Tell the kind of all pairs of cells closer than `radius` by label maps at the stride."""
    source, target = _ends(seeds, radius)
    valid = (source != IGNORE) & (target != IGNORE)
    same = source == target
    return PairLabels(
        background=valid & same & (source == BACKGROUND),
        foreground=valid & same & (source != BACKGROUND),
        different=valid & ~same,
    )


class PairLosses(NamedTuple):
    """The losses of each pair of cells, of which `IrnLosses` holds the means."""

    attract: Float[Tensor, "B n h w"]
    """-log of the affinity."""
    repel: Float[Tensor, "B n h w"]
    """-log of 1 - affinity."""
    astray: Float[Tensor, "B 2 n h w"]
    """|difference of the two displacements - offset between the two cells|, in cells."""
    moved: Float[Tensor, "B 2 n h w"]
    """|difference of the two displacements|, in cells."""


def pair_losses(relations: Relations, radius: int) -> PairLosses:
    """Compute the losses of all pairs of cells, in float32 at least.

    The published -log(1 - boundary + 1e-5) loses its gradient where a boundary is certain; the
    logarithms of sums here are the same numbers with all their digits.
    """
    edge, field = (at_least_float32(x) for x in relations)
    barrier = strongest(edge.squeeze(1), radius)
    source, target = _ends(field, radius)
    moved = source - target
    offsets = moved.new_tensor([path[0] for path in search_paths(radius)]).T[:, :, None, None]
    floor = barrier.new_tensor(_EPSILON).log()
    return PairLosses(
        attract=-torch.logaddexp(F.logsigmoid(-barrier), floor),
        repel=-torch.logaddexp(F.logsigmoid(barrier), floor),
        astray=(moved - offsets).abs(),
        moved=moved.abs(),
    )


def _ends(grid: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Values at the source and at the end of each pair."""
    offsets = [(0, 0), *(path[0] for path in search_paths(radius))]
    found = shifted(grid, offsets, radius)
    return found[..., :1, :, :], found[..., 1:, :, :]


class IrnLosses(NamedTuple):
    """The loss of a batch and its terms, each of them a mean over its pairs; 0 without any."""

    total: Float[Tensor, ""]
    """The loss: half the mean of the first two terms, and half of each of the others."""
    affinity_background: Float[Tensor, ""]
    """-log(affinity) of background pairs."""
    affinity_foreground: Float[Tensor, ""]
    """-log(affinity) of foreground pairs."""
    affinity_different: Float[Tensor, ""]
    """-log(1 - affinity) of pairs of different labels."""
    displacement_foreground: Float[Tensor, ""]
    """How far displacements of foreground pairs are from one common centre, in cells."""
    displacement_background: Float[Tensor, ""]
    """How far displacements of background pairs are from each other, in cells."""


_SHARES = (1 / 4, 1 / 4, 1 / 2, 1 / 2, 1 / 2)
"""Weight of each term in the total."""


def irn_losses(
    relations: Relations,
    seeds: Integer[Tensor, "B h w"],
    radius: int = 10,
    num_pairs: Float[Tensor, "3"] | None = None,
) -> IrnLosses:
    """Compute the published losses of a batch.

    Args:
        relations: Output of the network in train mode.
        seeds: Label maps at the stride of its output, see `irn.reduce_labels`.
        radius: In cells; two cells are a pair if they are closer.
        num_pairs: Divisors of the sums over background, foreground and different pairs; None: the
            counts of this batch (`PairLabels.counts`). Workers that share a batch divide by the
            mean of their counts: the mean of their losses is then the loss of the whole batch.
    """
    labels, losses = pair_labels(seeds, radius), pair_losses(relations, radius)
    counts = labels.counts() if num_pairs is None else num_pairs
    background, foreground, different = counts.unbind()
    terms = torch.stack(
        [
            _mean(losses.attract, labels.background, background),
            _mean(losses.attract, labels.foreground, foreground),
            _mean(losses.repel, labels.different, different),
            _mean(losses.astray, labels.foreground[:, None], 2 * foreground),
            _mean(losses.moved, labels.background[:, None], 2 * background),
        ]
    )
    return IrnLosses((terms * terms.new_tensor(_SHARES)).sum(), *terms.unbind())


def _mean(
    values: Float[Tensor, "..."], where: Bool[Tensor, "..."], count: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    return (values * where).sum() / (count + _EPSILON)
