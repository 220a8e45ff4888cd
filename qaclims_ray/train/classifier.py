"""The multi-label classifier whose CAMs are the baseline and whose weights RITC starts from."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.model.cam_net import CamNet, build_cam_net, pool_logits
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.log import MAX_LOGIT
from qaclims_ray.train.rows import Rows, TrainingSet, training_images
from qaclims_ray.train.task import CamTask
from qaclims_ray.types import Cams, Labels


def rows(experiment: Experiment) -> Rows:
    """Find the images whose labels are known."""
    return Rows(training_images(experiment))


class ClassifierTask(CamTask):
    """Trains a pretrained backbone and a fresh classifier to name the classes of an image."""

    maxima = frozenset({MAX_LOGIT})

    def __init__(self, experiment: Experiment, data: TrainingSet, device: torch.device) -> None:
        super().__init__(experiment, experiment.train.classifier, data)

    def network(self) -> CamNet:
        """Build the network, its classifier small so that all classes start equal."""
        model = self._experiment.model
        weights = None if model.backbone_weights is None else resolve(model.backbone_weights)
        net = build_cam_net(model.backbone, len(self._data.class_names), weights)
        nn.init.normal_(net.classifier.weight, std=0.01)
        return net

    def loss(self, output: Cams, batch: Batch) -> Mapping[str, Tensor]:
        """Compute the classification loss and the largest logit."""
        largest = output.detach().float().amax()
        return {"total": classifier_loss(output, batch.targets), MAX_LOGIT: largest}


def classifier_loss(logits: Cams, labels: Labels) -> Float[Tensor, ""]:
    """Compute the multi-label soft margin loss of pooled logit maps.

    Published `step/train_cam.py`.
    """
    return F.multilabel_soft_margin_loss(pool_logits(logits).float(), labels)
