"""What each training starts from: its network, and the task that turns logits into a loss."""

import pyarrow as pa
import torch
from safetensors.torch import load
from torch import nn

from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.model.cam_net import CamNet, build_cam_net
from qaclims_ray.model.clip import load_clip
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.train.batches import PairTable
from qaclims_ray.train.fit import Task
from qaclims_ray.train.tasks import RitcTask, classifier_task
from qaclims_ray.train.validation import MODEL


def classifier_start(experiment: Experiment, num_classes: int) -> tuple[CamNet, Task]:
    """A pretrained backbone with a fresh head, small so that all classes start equal."""
    weights = experiment.model.backbone_weights
    net = build_cam_net(
        experiment.model.backbone, num_classes, None if weights is None else resolve(weights)
    )
    nn.init.normal_(net.classifier.weight, std=0.01)
    return net, classifier_task


def ritc_start(
    experiment: Experiment, table: pa.Table, class_names: tuple[str, ...], device: torch.device
) -> tuple[CamNet, Task]:
    """The classifier's network, its head scaled, and the contrast with CLIP on `device`.

    Args:
        experiment: The run, whose `classifier`, `pairs` and `texts` are complete.
        table: The images in the order in which batches number them.
        class_names: Names in the order of their indices.
        device: Where CLIP and the text features go.
    """
    net = build_cam_net(experiment.model.backbone, len(class_names))
    net.load_state_dict(load(read_bytes(f"{artifact(experiment, 'classifier').uri}/{MODEL}")))
    ritc = experiment.train.ritc
    with torch.no_grad():
        net.classifier.weight.mul_(ritc.head_scale)
    section = experiment.model.clip
    clip = load_clip(
        resolve(section.model), section.pretrained, mask_prompt_depth=section.mask_prompt_depth
    ).to(device)
    texts = read_table(artifact(experiment, "texts"))
    features = texts["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    bank = torch.tensor(features, device=device).reshape(texts.num_rows, -1)
    rows_of = {text: row for row, text in enumerate(texts["text"].to_pylist())}
    pairs = {row["name"]: row for row in read_table(artifact(experiment, "pairs")).to_pylist()}
    ordered = [pairs[name] for name in table["name"].to_pylist()]
    return net, RitcTask(
        ritc, section, clip, bank, PairTable(ordered, rows_of, class_names, device)
    )
