"""Region image-text contrast (RITC): the training of QA-CLIMS's CAM network."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.config.train import Ritc
from qaclims_ray.model.cam_net import CamNet, build_cam_net
from qaclims_ray.model.checkpoints import load_network
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.clip_files import load_clip
from qaclims_ray.model.losses import (
    area,
    background_contrast,
    cam_cross_entropy,
    foreground_contrast,
)
from qaclims_ray.model.regions import region_views, renormalise, select_pairs
from qaclims_ray.model.shapes import Cams, Images, Labels
from qaclims_ray.model.texts import PairFeatures, pair_features
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.log import MAX_LOGIT
from qaclims_ray.train.pairs import PairCounts, PairReader, count_pairs
from qaclims_ray.train.rows import CAM_COLUMNS, Rows, Source, training_rows
from qaclims_ray.train.sets import TrainingSet
from qaclims_ray.train.targets import CamTargets, Target, named_by
from qaclims_ray.train.task import CamTask
from qaclims_ray.train.validation import MODEL

Scalar = Float[Tensor, ""]
Normalisation = Literal["imagenet", "clip"]

VOC = Ritc()
"""The paper's settings for VOC 2012, the defaults of the section (COCO: weights 30, 24, 0.2)."""


def rows(experiment: Experiment) -> Rows:
    """Find the images whose labels are known and that have answers.

    Others, such as those that the VQA model failed on, are left out; so are images without CLIP
    CAMs where these are targets.
    """
    beside = [Source(artifact(experiment, "pairs"), ("pairs",))]
    if experiment.train.ritc.loss.clip_cams:
        beside.append(Source(artifact(experiment, "clip_cams"), tuple(CAM_COLUMNS)))
    for name in ("texts", "classifier"):
        artifact(experiment, name).require()
    return training_rows(experiment, *beside)


class RitcTask(CamTask):
    """Trains the classifier's network on, by the contrast of its regions with texts."""

    maxima = frozenset({MAX_LOGIT})

    def __init__(self, experiment: Experiment, data: TrainingSet, device: torch.device) -> None:
        settings, section = experiment.train.ritc, experiment.model.clip
        super().__init__(experiment, settings, data)
        self._head_scale = settings.head_scale
        clip = load_clip(
            resolve(section.model),
            section.pretrained,
            mask_prompt_depth=section.mask_prompt_depth,
            trust_remote_code=experiment.model.trust_remote_code,
        )
        texts = read_table(artifact(experiment, "texts"))
        features = texts["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        rows_of = {text: row for row, text in enumerate(texts["text"].to_pylist())}
        self._read_pairs = PairReader(rows_of, data.class_names)
        self._loss = RitcLoss(
            clip.to(device),
            torch.tensor(features, device=device).reshape(texts.num_rows, -1),
            count_pairs(experiment, data, rows_of),
            settings,
            section.normalisation,
        )

    def network(self) -> CamNet:
        """Build the classifier's network, its classifier scaled by `head_scale`."""
        experiment = self._experiment
        net = build_cam_net(experiment.model.backbone, len(self._data.class_names))
        load_network(net, f"{artifact(experiment, 'classifier').uri}/{MODEL}")
        with torch.no_grad():
            net.classifier.weight.mul_(self._head_scale)
        return net

    def loss(self, output: Cams, batch: Batch) -> Mapping[str, Tensor]:
        """Compute the terms of the loss, that of the target CAMs among them if it has a weight."""
        weight = self._experiment.train.ritc.loss.clip_cams
        if not weight:
            return self._loss(output, batch)
        labels = named_by(batch.targets)
        terms = self._loss(output, batch._replace(targets=labels))
        term = cam_cross_entropy(output, batch.targets, labels)
        return {**terms, "total": terms["total"] + weight * term, "clip_cams": term.detach()}

    def beside(self) -> PairReader:
        """Make what looks up the texts of an image's pairs."""
        return self._read_pairs

    def target(self) -> Target:
        """Make what gives each image its target: its CLIP CAMs if they have a weight, or labels."""
        if not self._experiment.train.ritc.loss.clip_cams:
            return super().target()
        return CamTargets(len(self._data.class_names), self._experiment.data.max_side)


class RitcLoss:
    """Computes the loss terms of batches that bring the texts of their pairs."""

    def __init__(
        self,
        clip: MaskPromptedClip,
        text_features: Float[Tensor, "N D"],
        pairs: PairCounts,
        settings: Ritc,
        clip_normalisation: Normalisation,
    ) -> None:
        """Contrast regions, seen by a frozen CLIP, with the texts of their pairs.

        Args:
            clip: On the device of all tensors.
            text_features: L2-normalised feature of each text.
            pairs: How many pairs each image of the set has.
            settings: Loss weights, temperature and threshold.
            clip_normalisation: See `ritc_losses`.
        """
        self._clip = clip
        self._text_features = text_features
        self._pairs = pairs
        self._settings = settings
        self._clip_normalisation: Normalisation = clip_normalisation

    def __call__(self, logits: Cams, batch: Batch) -> Mapping[str, Tensor]:
        """Compute the terms of one batch; the number of pairs is that of its step."""
        # The rows of all workers' batches are known here, so that no collective is needed.
        texts = self._pairs.texts(batch.beside, logits.device)
        num_pairs = self._pairs.num_counted(batch.step_rows)
        share = len(batch.rows) / len(batch.step_rows)
        losses = ritc_losses(
            logits,
            batch.images,
            batch.targets,
            pair_features(self._text_features, texts),
            self._clip,
            self._settings,
            divisor=num_pairs * share if self._settings.loss.per_pair else 1.0,
            clip_normalisation=self._clip_normalisation,
        )
        counted = torch.full((), num_pairs, dtype=logits.dtype, device=logits.device)
        return {**losses._asdict(), "num_pairs": counted}


class RitcLosses(NamedTuple):
    """The loss of a batch, its terms before weighting, and what to log beside them."""

    total: Scalar
    """The weighted sum, the one term with a gradient."""
    foreground: Scalar
    """FRC, summed over pairs and divided by the divisor."""
    background: Scalar
    """BRC, summed over pairs and divided by the divisor."""
    area: Scalar
    """REG, in [0, 1]."""
    num_pairs: Scalar
    """Pairs with a background text, the ones that count."""
    max_logit: Scalar
    """Largest logit; a sigmoid far above 5 is saturated and learns slowly."""


def ritc_losses(
    logits: Cams,
    images: Images,
    labels: Labels,
    texts: PairFeatures,
    clip: MaskPromptedClip,
    settings: Ritc = VOC,
    *,
    divisor: float = 1.0,
    clip_normalisation: Normalisation = "imagenet",
) -> RitcLosses:
    """Compute the loss of one batch (published `step/train_qa_clims.py`).

    A batch without pairs, or whose pairs all lack background texts, has a contrastive loss of 0;
    the total still depends on the logits, so that all workers run the same collectives.

    Args:
        logits: Output of the CAM network, before the sigmoid.
        images: Input of the network, normalised with ImageNet's mean and standard deviation.
        labels: Image-level labels.
        texts: Text features of the pairs, in the order of `select_pairs(labels)`.
        clip: A frozen CLIP; gradients flow through it to the CAMs.
        settings: Loss weights, temperature, and the threshold alpha of the foreground masks.
        divisor: Divisor of FRC and BRC; 0 counts as 1. Published: 1, sums over the local batch,
            which make the step grow with the number of objects in it. For the mean over the pairs
            of several batches whose gradients are averaged: how many pairs count in a batch on
            average.
        clip_normalisation: Normalisation of the views. `clip` is what CLIP was trained on;
            published: `imagenet`, as the images come.
    """
    if clip_normalisation == "clip":
        images = renormalise(images, clip.image_mean, clip.image_std)
    cams = logits.float().sigmoid()
    contrasts = region_contrasts(
        cams, images, labels, texts, clip, temperature=settings.temperature, alpha=settings.alpha
    )
    num_pairs = texts.present.any(dim=1).sum().to(cams.dtype)
    scale = torch.full((), divisor if divisor > 0 else 1.0, dtype=cams.dtype, device=cams.device)
    frc, brc = (values.sum() / scale for values in contrasts)
    reg, weights = area(cams), settings.loss
    total = weights.foreground * frc + weights.background * brc + weights.area * reg
    terms = (frc.detach(), brc.detach(), reg.detach())
    return RitcLosses(total, *terms, num_pairs, logits.detach().float().amax())


def region_contrasts(
    cams: Cams,
    images: Images,
    labels: Labels,
    texts: PairFeatures,
    clip: MaskPromptedClip,
    *,
    temperature: float,
    alpha: float,
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"]]:
    """Compute FRC and BRC of each pair, by one CLIP forward over both views of all pairs.

    Args:
        cams: Values in [0, 1].
        images: Normalised as CLIP shall see them.
        labels: Image-level labels.
        texts: Text features of the pairs, in the order of `select_pairs(labels)`.
        clip: A frozen CLIP.
        temperature: Divisor of the cosine similarities.
        alpha: Share of a CAM's maximum where its foreground mask begins.
    """
    regions = region_views(
        cams, images, select_pairs(labels, len(texts.present)), clip.image_size, alpha
    )
    views = torch.cat([regions.foreground, regions.background])
    masks = torch.cat([regions.foreground_mask, regions.background_mask])
    inside, outside = clip.encode_regions(views, masks).chunk(2)
    frc = foreground_contrast(inside, *texts, temperature)
    brc = background_contrast(outside, *texts, temperature)
    return frc, brc
