"""The multi-label classifier whose CAMs are the baseline and whose weights RITC starts from."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.cam_net import pool_logits
from qaclims_ray.types import Cams, Labels


def classifier_loss(logits: Cams, labels: Labels) -> Float[Tensor, ""]:
    """Multi-label soft margin loss of the pooled logit maps (published `step/train_cam.py`)."""
    return F.multilabel_soft_margin_loss(pool_logits(logits).float(), labels)
