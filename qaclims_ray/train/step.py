"""Optimiser steps on one device: loss, gradient, optimiser, schedule, and their state."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from qaclims_ray.config.train import Fit
from qaclims_ray.model.resnet import freeze_batch_norm
from qaclims_ray.model.shapes import Images
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.optim import poly_decay

Loss = Callable[[Any, Batch], Mapping[str, Tensor]]
"""Output of a network and its batch to scalars for the log; `total` among them is minimised."""


class StepState(TypedDict):
    """State of the network, its optimiser and its schedule, as torch has them."""

    model: dict[str, Tensor]
    average: NotRequired[dict[str, Tensor]]
    """Moving average of the weights, where there is one."""
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


class Step:
    """Takes the optimiser steps of a network that may be wrapped for several workers."""

    def __init__(
        self,
        net: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        fit: Fit,
        num_steps: int,
        maxima: Collection[str] = (),
        ema_decay: float | None = None,
    ) -> None:
        """Begin a training of `num_steps` steps, over which the learning rates decay.

        Args:
            net: On the device where it trains.
            loss: Scalars of a batch.
            optimizer: Holds the parameters of `net`.
            fit: Precision, batch normalisation, gradient clipping and decay.
            num_steps: Steps of the whole training.
            maxima: Scalars whose largest value over the batches of a step is reported; the others
                are means.
            ema_decay: Decay of a moving average of the weights; None: there is none.
        """
        self.net = net
        self._loss = loss
        self._optimizer = optimizer
        self._schedule = poly_decay(optimizer, num_steps, fit.optimiser.power)
        self._fit = fit
        self._maxima = maxima
        self._average: Any = None
        if ema_decay is not None:
            from qaclims_ray.model.segmenter_training import averaged_weights  # timm is slow

            self._average = averaged_weights(unwrapped(net), ema_decay)
        self._device = next(net.parameters()).device
        self.prepare()

    def prepare(self) -> None:
        """Put the network into training mode; call it after anything that changed the mode."""
        self.net.train()
        if self._fit.freeze_batch_norm:
            freeze_batch_norm(self.net)

    def __call__(self, *batches: Batch) -> dict[str, float]:
        """Take one step along the weighted sum of the batches' gradients, averaged over workers.

        Returns:
            The scalars of the loss over the batches, the learning rate of the first parameter
            group, and the norm of the gradient before clipping.

        Raises:
            FloatingPointError: loss or gradient is not finite; the images are named, and the
                weights are as they were.
        """
        self._optimizer.zero_grad()
        together = self._fit.batch_norm_statistics == "step"
        if together:  # a batch that only keeps this worker busy has no part in the statistics
            batches = tuple(batch for batch in batches if batch.weight > 0) or batches
        parts = self._add_together(batches) if together else self._add_gradients(batches)
        scalars = self._finite_scalars(parts, batches, self._clip_gradient())
        rate = float(self._schedule.get_last_lr()[0])
        self._optimizer.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update(unwrapped(self.net), self._schedule.last_epoch)
        return {**scalars, "learning_rate": rate}

    def _add_gradients(self, batches: Sequence[Batch]) -> list[Mapping[str, Tensor]]:
        """Add the gradients of one batch after the other, each normalised by its own statistics."""
        # Gradients stay with their worker until the last batch brings all of them together.
        alone = self.net.no_sync if isinstance(self.net, DistributedDataParallel) else nullcontext
        parts: list[Mapping[str, Tensor]] = []
        for number, batch in enumerate(batches, start=1):
            batch = batch.to(self._device)
            with nullcontext() if number == len(batches) else alone():
                parts.append(self._backward(self._forward(batch.images), batch))
        return parts

    def _add_together(self, batches: Sequence[Batch]) -> list[Mapping[str, Tensor]]:
        """Add the gradients of all batches, which pass the network as one.

        Their losses, and what these keep for their gradients, are still computed one by one: the
        gradients meet at the network's output.
        """
        moved = [batch.to(self._device) for batch in batches]
        output = self._forward(torch.cat([batch.images for batch in moved]))
        reached = output.detach().requires_grad_()
        sizes = [len(batch.names) for batch in moved]
        parts = [
            self._backward(own, batch)
            for own, batch in zip(reached.split(sizes), moved, strict=True)
        ]
        assert reached.grad is not None
        output.backward(reached.grad)
        return parts

    def _autocast(self) -> torch.autocast:
        enabled = self._fit.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=enabled)

    def _forward(self, images: Images) -> Any:
        with self._autocast():
            return self.net(images)

    def _backward(self, output: Any, batch: Batch) -> Mapping[str, Tensor]:
        with self._autocast():
            scalars = self._loss(output, batch)
        (batch.weight * scalars["total"]).backward()
        return {name: value.detach() for name, value in scalars.items()}

    def _clip_gradient(self) -> Tensor:
        limit = self._fit.optimiser.max_grad_norm or float("inf")
        return nn.utils.clip_grad_norm_(self.net.parameters(), limit)

    def _finite_scalars(
        self, parts: Sequence[Mapping[str, Tensor]], batches: Sequence[Batch], norm: Tensor
    ) -> dict[str, float]:
        """Reduce the scalars of batches to those of the step, by one transfer from the device.

        It is all that the step waits for, and so the place to see that loss and gradient are
        finite before the weights change.
        """
        names = list(parts[0])
        table = torch.stack([torch.stack([part[name].float() for name in names]) for part in parts])
        *flat, grad_norm = torch.cat([table.flatten(), norm.float()[None]]).tolist()
        rows = np.array(flat, np.float32).reshape(table.shape)
        for row, batch in zip(rows, batches, strict=True):
            if not np.isfinite(row[names.index("total")]):
                values = dict(zip(names, row.tolist(), strict=True))
                raise FloatingPointError(f"the loss is not finite: {values}; images {batch.names}")
        if not math.isfinite(grad_norm):
            images = [name for batch in batches for name in batch.names]
            raise FloatingPointError(
                f"the gradient is not finite, though the loss of these images is: {images}"
            )
        used = rows[[batch.weight > 0 for batch in batches]]
        most = [name in self._maxima for name in names]
        values = np.where(most, used.max(axis=0), used.mean(axis=0)).tolist()
        return {**dict(zip(names, values, strict=True)), "grad_norm": grad_norm}

    def state(self) -> StepState:
        """Return what a checkpoint holds: tensors and plain data only."""
        state = StepState(
            model=unwrapped(self.net).state_dict(),
            optimizer=self._optimizer.state_dict(),
            schedule=self._schedule.state_dict(),
        )
        if self._average is not None:
            state["average"] = self._average.module.state_dict()
        return state

    def load_state(self, state: StepState) -> None:
        """Go on from `state()`."""
        unwrapped(self.net).load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        average = state.get("average")
        if self._average is not None and average is not None:
            self._average.module.load_state_dict(average)

    def trained(self) -> nn.Module:
        """Return the network that the training makes: the moving average, where there is one."""
        return unwrapped(self.net) if self._average is None else self._average.module


def unwrapped(net: nn.Module) -> nn.Module:
    """Return the network inside the wrapper that several workers put around it."""
    return getattr(net, "module", net)
