"""Scores of the network while it trains, and its best weights so far."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import save

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.storage.files import write_bytes

Score = Callable[[CamNet], Mapping[str, float]]
"""Scores of a network in evaluation mode; `SCORE` among them."""
Validate = Callable[[Experiment, Fit], Score]
"""Reads the images to score; a function of a module, as it goes to other processes."""

SCORE = "miou"
"""By which networks are compared; the higher the better."""
MODEL, BEST = "model.safetensors", "best.safetensors"


class Validation:
    """Scores the network every n epochs, and keeps the weights of the best score."""

    def __init__(
        self, target: Artifact, score: Score, every: int, rows: list[dict[str, Any]]
    ) -> None:
        """Score by `score`; `rows` are the scores of the epochs before."""
        self._target = target
        self._score = score
        self._every = every
        self.rows = rows

    def is_due(self, epoch: int, num_epochs: int) -> bool:
        """Whether the network is scored after this epoch; it is after the last one."""
        return (epoch + 1) % self._every == 0 or epoch + 1 == num_epochs

    def __call__(self, epoch: int, step: int, net: CamNet) -> Mapping[str, float]:
        """Scores of the network, which is left in evaluation mode."""
        net.eval()
        # Images come in many sizes, and a compiled backbone would be compiled for each.
        with torch.compiler.set_stance("force_eager"), torch.no_grad():
            scores = self._score(net)
        if all(scores[SCORE] > row[SCORE] for row in self.rows):
            write_bytes(f"{self._target.uri}/{BEST}", weights(net))
        self.rows = [*self.rows, {"epoch": epoch, "step": step, **scores}]
        lines = "".join(f"{json.dumps(row)}\n" for row in self.rows)
        write_bytes(f"{self._target.uri}/metrics/validation.jsonl", lines.encode())
        return scores


def weights(net: CamNet) -> bytes:
    """The network as a safetensors file."""
    return save({name: value.contiguous() for name, value in net.state_dict().items()})
