"""Where people keep their runs: TensorBoard, and by Ray's integrations MLflow and Weights & Biases.

Scalars leave at each checkpoint. A training that goes on from one is, in MLflow and in Weights &
Biases, a further run of the same name, from that step on: none has a step twice.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from qaclims_ray.config.compute import Workers
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.train.log import Board, TensorBoard

_PER_CALL = 1000
"""Values that MLflow takes at once."""


class Row(NamedTuple):
    """The scalars of a step, and when they were noted, in milliseconds since 1970."""

    step: int
    scalars: dict[str, float]
    milliseconds: int


class Remote:
    """Keeps scalars until the next checkpoint, then sends them."""

    def __init__(
        self, send: Callable[[Sequence[Row]], object], finish: Callable[[], object]
    ) -> None:
        """Send rows by one function, and end the run there by another one."""
        self._send = send
        self._finish = finish
        self._rows: list[Row] = []

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Note the scalars of a step."""
        self._rows.append(Row(step, dict(scalars), round(1000 * time.time())))

    def write(self) -> None:
        """Send what there is so far."""
        self._send(self._rows)
        self._rows = []

    def close(self) -> None:
        """Send the rest, and end the run."""
        self.write()
        self._finish()


def open_boards(experiment: Experiment, target: Artifact, done: int) -> list[Board]:
    """Open all that `compute.train` names for a training that has taken `done` steps."""
    workers = experiment.compute.train
    boards: list[Board] = [TensorBoard(target, done)] if workers.tensorboard else []
    if workers.mlflow is not None:
        boards.append(_mlflow(experiment, workers.mlflow, target))
    if workers.wandb is not None:
        boards.append(_wandb(experiment, workers.wandb, target))
    return boards


def _mlflow(experiment: Experiment, server: str, target: Artifact) -> Remote:
    from ray.air.integrations.mlflow import setup_mlflow

    mlflow: Any = setup_mlflow(
        dict(target.recipe),
        tracking_uri=server,
        experiment_name=experiment.name,
        create_experiment_if_not_exists=True,
        run_name=target.name,
        tags={"run": target.run},
    )
    client, number = mlflow.MlflowClient(), mlflow.active_run().info.run_id

    def send(rows: Sequence[Row]) -> None:
        """Send scalars in calls as large as the server takes."""
        metrics = [
            mlflow.entities.Metric(key, value, row.milliseconds, row.step)
            for row in rows
            for key, value in row.scalars.items()
        ]
        for start in range(0, len(metrics), _PER_CALL):
            client.log_batch(number, metrics=metrics[start : start + _PER_CALL])

    return Remote(send, mlflow.end_run)


def _wandb(experiment: Experiment, project: str, target: Artifact) -> Remote:
    from ray.air.integrations.wandb import setup_wandb

    run: Any = setup_wandb(
        dict(target.recipe), project=project, group=experiment.name, name=target.name
    )

    def send(rows: Sequence[Row]) -> None:
        for row in rows:
            run.log(row.scalars, step=row.step)

    return Remote(send, run.finish)


def search_callbacks(experiment: Experiment) -> list[Any]:
    """Make Tune's callbacks that log the values and the scores of each trial of a search."""
    workers = experiment.compute.train
    found: list[Any] = []
    if workers.mlflow is not None:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        found.append(MLflowLoggerCallback(workers.mlflow, experiment_name=experiment.name))
    if workers.wandb is not None:
        from ray.air.integrations.wandb import WandbLoggerCallback

        found.append(WandbLoggerCallback(project=workers.wandb, group=experiment.name))
    return found


def check_boards(workers: Workers) -> None:
    """Check that the packages that the configuration asks for are installed.

    Raises:
        ValueError: one is not.
    """
    for name in ("tensorboard", "mlflow", "wandb"):
        if getattr(workers, name) and find_spec(name) is None:
            raise ValueError(
                f"compute.train.{name} is set, but the package is not installed: pip install "
                f"{name}, or leave it out"
            )
