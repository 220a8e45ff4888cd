"""The two trainings as tasks: logit maps and their batch to loss terms."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from qaclims_ray.config.model import Clip
from qaclims_ray.config.train import Ritc
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.texts import pair_features
from qaclims_ray.train.batches import Batch, PairTable
from qaclims_ray.train.classifier import classifier_loss
from qaclims_ray.train.ritc import LossWeights, ritc_losses
from qaclims_ray.types import Cams


def classifier_task(logits: Cams, batch: Batch) -> Mapping[str, Tensor]:
    """The loss of the multi-label classifier."""
    return {"total": classifier_loss(logits, batch.labels)}


class RitcTask:
    """The loss terms of region image-text contrast."""

    def __init__(
        self,
        ritc: Ritc,
        clip_section: Clip,
        clip: MaskPromptedClip,
        bank: Float[Tensor, "N D"],
        pairs: PairTable,
    ) -> None:
        """Judge regions by `clip` and the texts of `pairs`, whose features are rows of `bank`."""
        self._ritc = ritc
        self._clip_section = clip_section
        self._clip = clip
        self._bank = bank
        self._pairs = pairs
        loss = ritc.loss
        self._weights = LossWeights(loss.foreground, loss.background, loss.area)
        self._per_pair = loss.per_pair

    def __call__(self, logits: Cams, batch: Batch) -> Mapping[str, Tensor]:
        """Terms of one batch, see `ritc_losses`, but the number of pairs is that of its step."""
        texts = pair_features(self._bank, self._pairs.of(batch.rows))
        # Of all workers, whose rows are known here, and so without a collective.
        num_pairs = self._pairs.num_counted(batch.step_rows)
        share = len(batch.rows) / len(batch.step_rows)
        losses = ritc_losses(
            logits,
            batch.images,
            batch.labels,
            texts,
            self._clip,
            weights=self._weights,
            temperature=self._ritc.temperature,
            alpha=self._ritc.alpha,
            divisor=num_pairs * share if self._per_pair else 1.0,
            clip_normalisation=self._clip_section.normalisation,
        )
        return {**losses._asdict(), "num_pairs": num_pairs}
