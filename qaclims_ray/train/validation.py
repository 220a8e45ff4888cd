"""Scores of a network while it trains, and its best weights so far."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from safetensors.torch import save
from torch import nn

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.metrics.confusion import best_threshold, sweep
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.predictor import CamPredictor
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.scored import scored_images
from qaclims_ray.run.tables import NameIndex
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.types import ImageRow

_Net = TypeVar("_Net", bound=nn.Module)

Scorer = Callable[[_Net], Mapping[str, float]]
"""Scores a network that is in evaluation mode; `SCORE` is among the scores."""
MakeScorer = Callable[[Experiment, Fit], Scorer[Any]]
"""Reads the images to score; a function of a module, as it goes to other processes."""

SCORE = "miou"
"""Score by which networks are compared; the higher the better."""
MODEL, BEST = "model.safetensors", "best.safetensors"
SCORED_COLUMNS = ("name", "image", "height", "width", "labels", "mask")
"""Columns of `images` that a score needs."""
_LOOKED_UP = 16
"""Names that are looked up at a time."""
_PERMUTED = 2**20
"""Numbers that are drawn from by a permutation of all."""


def make_scorer(experiment: Experiment, fit: Fit) -> Scorer[CamNet]:
    """Make the scorer of CAMs: their mIoU on some images at the best of all thresholds.

    Args:
        experiment: The run; CAMs and thresholds are those of its last stages.
        fit: Says how many images are scored: always the same, drawn by the run's seed.

    Raises:
        ValueError: there is no ground truth.
    """
    rows = rows_to_score(experiment, fit)
    num_classes = len(class_names(artifact(experiment, "images")))
    size = experiment.compute.cams.batch_size
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]

    def score(net: CamNet) -> Mapping[str, float]:
        counts = [count_confusions(experiment, net, batch, num_classes) for batch in batches]
        threshold, miou = best_threshold(np.sum(counts, axis=0), experiment.evaluate.thresholds)
        return {SCORE: miou, "threshold": threshold}

    return score


def rows_to_score(experiment: Experiment, fit: Fit, *, of_cams: bool = True) -> list[ImageRow]:
    """Read the images that a network is scored on while it trains.

    Args:
        experiment: The run.
        fit: Says how many: always the same, drawn by the run's seed.
        of_cams: Leave out images whose labels nobody knows, of which there are no CAMs.

    Raises:
        ValueError: there is no ground truth.
    """
    scored = scored_images(experiment, of_cams=of_cams)
    chosen = scored.names_at(draw(scored.num, fit.validate_images, experiment.train.seed).tolist())
    index = NameIndex(scored.images)
    # Few shards at a time: what their footers take, the allocator gives back late.
    starts = range(0, len(chosen), _LOOKED_UP)
    found = (index.look_up(chosen[at : at + _LOOKED_UP], SCORED_COLUMNS) for at in starts)
    return [row for table in found for row in table.to_pylist()]


def draw(num: int, num_wanted: int, seed: int) -> Int[np.ndarray, "wanted"]:
    """Draw numbers from 0 to `num - 1`, each once and sorted; all of them where fewer are there.

    Up to 2**20 they are the first of a permutation of all. Beyond, they are drawn without one, so
    that memory follows the numbers that are wanted (as numpy does it while these are less than a
    fiftieth of all).
    """
    rng = np.random.default_rng(seed)
    if num <= _PERMUTED or num_wanted >= num:
        return np.sort(rng.permutation(num)[:num_wanted])
    return np.sort(rng.choice(num, num_wanted, replace=False))


def count_confusions(
    experiment: Experiment, net: CamNet, rows: Sequence[ImageRow], num_classes: int
) -> Int[np.ndarray, "T K K"]:
    """Count the pixels of each true and predicted class in the CAMs of some images.

    Args:
        experiment: The run, for scales and thresholds.
        net: In evaluation mode.
        rows: Images with ground truth, all of them in memory.
        num_classes: Classes, background excluded.

    Returns:
        Confusion matrices at each of `evaluate.thresholds`, summed over the images.
    """
    thresholds = experiment.evaluate.thresholds
    max_images = experiment.compute.cams.batch_size
    predictor = CamPredictor(net, **experiment.cams.fusion(), max_images=max_images)
    total = np.zeros((len(thresholds), num_classes + 1, num_classes + 1), np.int64)
    cams = predictor.predict_rows(rows, experiment.data.max_pixels)
    for row, cam in zip(rows, cams, strict=True):
        assert row["mask"] is not None
        truth = decode_mask(row["mask"])
        total += sweep(full_size(cam), cam["classes"], truth, thresholds, num_classes)
    return total


@contextmanager
def evaluating(net: nn.Module) -> Generator[None]:
    """Put a network into evaluation mode, and leave it there; meanwhile there are no gradients."""
    net.eval()
    # Images come in many sizes, and a compiled network would be compiled for each.
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        yield


class Validation:
    """Scores the network every n epochs, and keeps the weights of the best score."""

    def __init__(
        self, target: Artifact, scorer: Scorer[Any], every: int, rows: list[dict[str, Any]]
    ) -> None:
        """Go on with the scores of the epochs before.

        Args:
            target: Artifact that the network becomes.
            scorer: Scores it.
            every: Epochs between two scores.
            rows: Scores so far, beside `epoch` (from 0) and `step`.
        """
        self._target = target
        self._scorer = scorer
        self._every = every
        self.rows = rows

    def is_due(self, epoch: int, num_epochs: int) -> bool:
        """Return whether the network is scored after this epoch; it is after the last one."""
        return (epoch + 1) % self._every == 0 or epoch + 1 == num_epochs

    def __call__(self, epoch: int, step: int, net: nn.Module) -> Mapping[str, float]:
        """Score the network, which is left in evaluation mode."""
        with evaluating(net):
            scores = self._scorer(net)
        if all(scores[SCORE] > row[SCORE] for row in self.rows):
            write_bytes(f"{self._target.uri}/{BEST}", weights(net))
        self.rows = [*self.rows, {"epoch": epoch, "step": step, **scores}]
        lines = "".join(f"{json.dumps(row)}\n" for row in self.rows)
        write_bytes(f"{self._target.uri}/metrics/validation.jsonl", lines.encode())
        return scores


def weights(net: nn.Module) -> bytes:
    """Return the network as a safetensors file."""
    return save({name: value.contiguous() for name, value in net.state_dict().items()})
