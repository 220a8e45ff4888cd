"""Single-device training steps: loss, gradient, optimiser, schedule, and their state."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from qaclims_ray.config.train import Fit, Optimiser
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.resnet import fix_batch_norm
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.optim import build_optimizer, poly_decay
from qaclims_ray.types import Cams

Task = Callable[[Cams, Batch], Mapping[str, Tensor]]
"""Logit maps and their batch to scalars for the log; `total` among them is the loss."""

_LARGEST = "max_logit"
"""The scalar of a step that is no mean over its batches."""


class Fitter:
    """Trains a CAM network on one device; `net` may be wrapped for several workers."""

    def __init__(self, net: nn.Module, task: Task, fit: Fit, num_steps: int) -> None:
        """Take `num_steps` steps in all, over which the learning rate decays."""
        self.net = net
        self._task = task
        self._fit = fit
        bare = unwrapped(net)
        self._device = next(bare.parameters()).device
        self._optimizer = _optimizer(bare, fit.optimiser)
        self._schedule = poly_decay(self._optimizer, num_steps, fit.optimiser.power)
        self.prepare()

    def prepare(self) -> None:
        """Put the network into training mode; call it after whatever put it into another."""
        self.net.train()
        if self._fit.fix_batch_norm:
            fix_batch_norm(self.net)

    def step(self, *batches: Batch) -> dict[str, float]:
        """One optimiser step: the weighted sum of the batches' gradients, averaged over workers.

        Returns:
            The task's scalars (means over the batches, but the largest of `max_logit`), the
            learning rate of the backbone and the norm of the gradient.

        Raises:
            FloatingPointError: loss or gradient is not finite; the batch's images are named, and
                the weights are as they were.
        """
        self._optimizer.zero_grad()
        last = len(batches) - 1
        parts: list[Mapping[str, Tensor]] = []
        for position, batch in enumerate(batches):
            with nullcontext() if position == last else _apart(self.net):
                parts.append(self._add_gradient(batch))
        norm = self._clipped_norm(batches)
        rate = self._schedule.get_last_lr()[0]
        self._optimizer.step()
        self._schedule.step()
        scalars = _joined(parts, [batch.weight for batch in batches])
        return {**scalars, "learning_rate": float(rate), "grad_norm": norm}

    def _add_gradient(self, batch: Batch) -> Mapping[str, Tensor]:
        batch = self._placed(batch)
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._fit.precision == "bfloat16"
        ):
            terms = self._task(self.net(batch.images), batch)
        if not torch.isfinite(terms["total"]):
            values = {name: value.detach().item() for name, value in terms.items()}
            raise FloatingPointError(f"the loss is not finite: {values}; images {batch.names}")
        (batch.weight * terms["total"]).backward()
        return {name: value.detach() for name, value in terms.items()}

    def _clipped_norm(self, batches: Sequence[Batch]) -> float:
        limit = self._fit.optimiser.max_grad_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), limit)
        if not torch.isfinite(norm):
            names = [name for batch in batches for name in batch.names]
            raise FloatingPointError(f"the gradient is not finite, though the loss is; {names}")
        return norm.item()

    def _placed(self, batch: Batch) -> Batch:
        """The batch on the network's device; channels last where tensor cores like it so."""
        images = batch.images.to(self._device, non_blocking=True)
        if self._device.type == "cuda":
            images = images.contiguous(memory_format=torch.channels_last)
        return batch._replace(
            images=images,
            labels=batch.labels.to(self._device, non_blocking=True),
            rows=batch.rows.to(self._device, non_blocking=True),
            step_rows=batch.step_rows.to(self._device, non_blocking=True),
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: tensors and plain data only."""
        return {
            "model": unwrapped(self.net).state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        unwrapped(self.net).load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


def unwrapped(net: nn.Module) -> CamNet:
    """The CAM network inside what wraps it for several workers."""
    bare = getattr(net, "module", net)
    assert isinstance(bare, CamNet)
    return bare


def _apart(net: nn.Module) -> AbstractContextManager[Any]:
    """While it lasts, gradients stay with their worker: the step's last batch brings them all."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()


def _joined(parts: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, float]:
    """Scalars of a step, without what has no weight, by one transfer from the device."""
    used = [part for part, weight in zip(parts, weights, strict=True) if weight > 0]
    columns = {name: torch.stack([part[name].float() for part in used]) for name in used[0]}
    values = [
        column.amax() if name == _LARGEST else column.mean() for name, column in columns.items()
    ]
    return dict(zip(columns, torch.stack(values).tolist(), strict=True))


def _optimizer(net: CamNet, optimiser: Optimiser) -> torch.optim.Optimizer:
    return build_optimizer(
        *net.parameter_groups(),
        kind=optimiser.kind,
        learning_rate=optimiser.learning_rate,
        head_factor=optimiser.head_factor,
        momentum=optimiser.momentum,
        weight_decay=optimiser.weight_decay,
    )
