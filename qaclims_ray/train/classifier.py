"""The multi-label classifier whose CAMs are the baseline and whose weights RITC starts from."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import normalise
from qaclims_ray.metrics.ranking import average_precision
from qaclims_ray.model.cam_net import CamNet, build_cam_net, pool_logits
from qaclims_ray.model.shapes import Cams, Labels
from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.run.contents import RANKING
from qaclims_ray.storage.files import write_json
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.log import MAX_LOGIT
from qaclims_ray.train.rows import Rows, training_rows
from qaclims_ray.train.sets import TrainingSet
from qaclims_ray.train.targets import label_matrix
from qaclims_ray.train.task import CamTask
from qaclims_ray.train.validation import draw

_MAX_WEIGHT = 20.0


def rows(experiment: Experiment) -> Rows:
    """Find the images whose labels are known."""
    return training_rows(experiment)


def needs_whole(experiment: Experiment) -> str | None:
    """Return the key by which an epoch draws from all images; None: it does not."""
    balance = experiment.train.classifier.balance
    return "train.classifier.balance=sampling" if balance == "sampling" else None


class ClassifierTask(CamTask):
    """Trains a pretrained backbone and a fresh classifier to name the classes of an image."""

    maxima = frozenset({MAX_LOGIT})

    def __init__(self, experiment: Experiment, data: TrainingSet, device: torch.device) -> None:
        super().__init__(experiment, experiment.train.classifier, data)
        counts = torch.zeros(len(data.class_names), dtype=torch.float64)
        for table in data.labels():
            counts += label_matrix(table, len(counts)).sum(0)
        self._rarity = rarity(counts.float())
        self._balance = experiment.train.classifier.balance

    def network(self) -> CamNet:
        """Build the network, its classifier small so that all classes start equal."""
        model = self._experiment.model
        weights = None if model.backbone_weights is None else resolve(model.backbone_weights)
        net = build_cam_net(model.backbone, len(self._data.class_names), weights)
        nn.init.normal_(net.classifier.weight, std=0.01)
        return net

    def loss(self, output: Cams, batch: Batch) -> Mapping[str, Tensor]:
        """Compute the classification loss and the largest logit."""
        weights = None
        if self._balance == "weights":
            weights = self._rarity.clamp(max=_MAX_WEIGHT).to(batch.targets.device)
        total = classifier_loss(output, batch.targets, weights)
        return {"total": total, MAX_LOGIT: output.detach().float().amax()}

    def shares(self) -> Float32[np.ndarray, "N"] | None:
        """Return the rarity of each image's rarest class, where sampling is balanced."""
        if self._balance != "sampling":
            return None
        labels = (label_matrix(table, len(self._rarity)) for table in self._data.labels())
        return torch.cat([(some * self._rarity).amax(1).clamp(min=1) for some in labels]).numpy()

    def finish(self, net: CamNet) -> None:
        """Write how well the network ranks some of its training images by each class."""
        seed = self._experiment.train.seed
        numbers = draw(len(self._data), self._fit.validate_images, seed)
        device = next(net.parameters()).device
        max_pixels = self._experiment.data.max_pixels
        scores: list[Float[np.ndarray, "C"]] = []
        labels = np.zeros((len(numbers), len(self._rarity)), bool)
        for place, row in enumerate(self._data.rows(numbers.tolist())):
            image = decode(row["image"], max_pixels=max_pixels)
            logits = pool_logits(net(torch.from_numpy(normalise(image))[None].to(device)))
            scores.append(logits[0].double().cpu().numpy())
            labels[place, row["labels"]] = True
        found = average_precision(np.stack(scores), labels)
        named = zip(self._data.class_names, found.tolist(), strict=True)
        told = {name: None if np.isnan(own) else own for name, own in named}
        uri = own_artifact(self._experiment, "classifier").uri
        write_json(f"{uri}/{RANKING}", {"num_images": len(numbers), "of_class": told})


def rarity(counts: Float32[Tensor, "C"]) -> Float32[Tensor, "C"]:
    """Return how many times fewer images a class has than the most frequent one; 1 for none."""
    return torch.where(counts > 0, counts.max() / counts.clamp(min=1), 1.0)


def classifier_loss(
    logits: Cams, labels: Labels, weights: Float[Tensor, "C"] | None = None
) -> Float[Tensor, ""]:
    """Compute the multi-label soft margin loss of pooled logit maps.

    Published `step/train_cam.py`.

    Args:
        logits: Maps of a batch.
        labels: 1 where they name the class, else 0.
        weights: Of the images that show a class, for each class; None: 1.
    """
    pooled = pool_logits(logits).float()
    if weights is None:
        return F.multilabel_soft_margin_loss(pooled, labels)
    return F.binary_cross_entropy_with_logits(pooled, labels, pos_weight=weights)
