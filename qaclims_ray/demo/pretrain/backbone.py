"""Trains the small residual network as a classifier of kinds and scenes on the demo world."""

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.demo.pretrain.fit import fit, normalise, shuffled_batches, stack_pixels
from qaclims_ray.demo.words import OBJECTS, SCENES
from qaclims_ray.demo.world import Example
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.resnet import small_resnet

TARGETS: tuple[str, ...] = (
    *(kind.name for entry in OBJECTS.values() for kind in entry.kinds),
    *SCENES,
)
"""What the classifier is taught: all kinds, then all scenes."""


def pretrain_backbone(
    examples: Sequence[Example], *, num_steps: int, seed: int, batch_size: int = 64
) -> CamNet:
    """A network whose backbone knows kinds and scenes; its head is dropped afterwards.

    It stands in for ImageNet's weights: seen are other images of the same world, labelled with
    finer classes, never with masks.
    """
    torch.manual_seed(seed)
    net = CamNet(small_resnet(), len(TARGETS))
    pixels, targets = stack_pixels(examples), stack_targets(examples)
    batches = shuffled_batches(random.Random(seed), len(examples), batch_size)

    def draw_loss() -> Tensor:
        batch = next(batches)
        logits = net.classify(normalise(pixels[batch]))
        return 10 * F.binary_cross_entropy_with_logits(logits, targets[batch])

    fit(net, draw_loss, num_steps=num_steps, learning_rate=2e-3, title="backbone")
    return net


def stack_targets(examples: Sequence[Example]) -> Float[Tensor, "N T"]:
    """1 for each kind and scene that an image shows."""
    targets = torch.zeros(len(examples), len(TARGETS))
    for row, example in enumerate(examples):
        for item in example.objects:
            kind = OBJECTS[item.class_name].kinds[item.kind].name
            targets[row, TARGETS.index(kind)] = 1
        targets[row, TARGETS.index(example.scene)] = 1
    return targets


@torch.inference_mode()
def measure_backbone(net: CamNet, examples: Sequence[Example]) -> dict[str, float]:
    """Shares of images whose scene is right, and whose kinds are just those named."""
    logits = net.classify(normalise(stack_pixels(examples)))
    targets = stack_targets(examples)
    num_kinds = len(TARGETS) - len(SCENES)
    named = (logits > 0) == (targets > 0)
    scenes = logits[:, num_kinds:].argmax(dim=1) == targets[:, num_kinds:].argmax(dim=1)
    return {
        "scene": scenes.float().mean().item(),
        "exact set of kinds": named[:, :num_kinds].all(dim=1).float().mean().item(),
    }
