"""Training under Ray Train: the classifier (baseline CAM) and RITC (QA-CLIMS).

`classifier` reads `images`; `cam_net` reads `images`, `pairs`, `texts` and `classifier`.
Each writes `model.safetensors`, `config.yaml` and `metrics/`, one JSON-lines file per epoch; with
`validate_every` also `best.safetensors` and `metrics/validation.jsonl`, and `tensorboard/` if
asked.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as pads
import ray
import ray.train
import ray.train.torch
import torch
from ray.train.collective import barrier, broadcast_from_rank_zero
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn

from qaclims_ray.cluster.session import start
from qaclims_ray.cluster.training import run_config, scaling
from qaclims_ray.config.experiment import Experiment, dump
from qaclims_ray.run.artifact import Artifact, Built, artifact, make, own_artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.progress import watch
from qaclims_ray.storage.files import find, read_json, remove, write_bytes, write_json
from qaclims_ray.storage.filesystem import is_transient
from qaclims_ray.train.log import PROGRESS, check_board
from qaclims_ray.train.loop import DivergedError, Place, State, train
from qaclims_ray.train.rows import open_rows, save_rows, training_rows
from qaclims_ray.train.steps import images_per_step, num_steps, section, section_key
from qaclims_ray.train.validation import SCORE, Validate

Network = Literal["classifier", "cam_net"]
_STATE = "state.pt"


def run(
    experiment: Experiment,
    network: Network,
    *,
    overwrite: bool = False,
    validate: Validate | None = None,
) -> str:
    """Train a network, write its artifact and return its summary line.

    Args:
        experiment: The run.
        network: Which.
        overwrite: Train anew what is complete.
        validate: Makes the scores that `validate_every` asks for (`qaclims_ray.train.scorer`).
    """
    return make(experiment, network, partial(_train, experiment, validate), overwrite)


def run_both(
    experiment: Experiment, *, overwrite: bool = False, validate: Validate | None = None
) -> str:
    """Train the classifier, then RITC upon it; return both summary lines."""
    networks: tuple[Network, ...] = ("classifier", "cam_net")
    return "\n".join(
        run(experiment, network, overwrite=overwrite, validate=validate) for network in networks
    )


def _train(experiment: Experiment, validate: Validate | None, target: Artifact) -> Built:
    rows = training_rows(experiment, target.name)
    names = class_names(artifact(experiment, "images"))
    _check(experiment, target.name, rows)
    steps = num_steps(experiment, target.name, rows.count_rows())
    with watch(target.name, partial(_steps_done, target), steps, unit="step"):
        if experiment.compute.train.num_workers == 0:
            with tempfile.TemporaryDirectory() as folder:
                save_rows(rows, Path(folder, "rows"))
                table = open_rows(Path(folder, "rows"))
            train(experiment, target.name, table, names, Place(), validate)
        else:
            _train_on_ray(experiment, target, names, validate)
    write_bytes(f"{target.uri}/config.yaml", dump(experiment).encode())
    facts = {"class_names": list(names), "steps": steps}
    return Built(steps * images_per_step(experiment, target.name), 0, facts, (steps, "steps"))


def _train_on_ray(
    experiment: Experiment, target: Artifact, names: tuple[str, ...], validate: Validate | None
) -> None:
    start(experiment.compute)
    workers = experiment.compute.train
    arguments: dict[str, Any] = {
        "experiment": experiment.anchored().plain(),
        "network": target.name,
        "class_names": names,
        "validate": validate,
        "faults": f"{target.work}/faults",
    }
    remove(arguments["faults"])
    scored = section(experiment, target.name).validate_every is not None
    trainer = ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config=arguments,
        scaling_config=scaling(workers),
        run_config=run_config(workers, target, SCORE if scored else None),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _failure(arguments["faults"], error) from None
    if find(f"{arguments['faults']}/*.json"):
        raise _failure(arguments["faults"])


def _worker(arguments: dict[str, Any]) -> None:
    """Train as one of the workers.

    What the user must mend would only happen again: it is noted, and Ray's next try ends at once.
    What time may mend, such as a storage that does not answer, is tried again.
    """
    context = ray.train.get_context()
    faults = arguments["faults"]
    if broadcast_from_rank_zero(find(f"{faults}/*.json")):
        return
    experiment = Experiment.model_validate(arguments["experiment"])
    place = Place(
        worker=context.get_world_rank(),
        num_workers=context.get_world_size(),
        device=ray.train.torch.get_device(),
        wrap=_wrap,
        load=_load,
        save=partial(_save, context.get_world_rank()),
    )
    try:
        table = _node_table(experiment, arguments["network"])
        names = tuple(arguments["class_names"])
        train(experiment, arguments["network"], table, names, place, arguments["validate"])
    except ValueError as error:
        if not (isinstance(error.__cause__, Exception) and is_transient(error.__cause__)):
            fault = {"message": str(error), "diverged": isinstance(error, DivergedError)}
            write_json(f"{faults}/{place.worker:05d}.json", fault)
        raise


def _node_table(experiment: Experiment, network: str) -> pa.Table:
    """The rows in a file that all workers of this node map, and that goes when they do.

    Trainings never share its name, but the lives of one do: what a worker left that was killed
    while it copied is replaced.
    """
    context = ray.train.get_context()
    uri = own_artifact(experiment, network).uri
    training = hashlib.sha256(uri.encode()).hexdigest()[:16]
    name = f"qaclims_ray-{training}-{context.get_node_rank()}.arrow"
    path = Path(tempfile.gettempdir(), name)
    writes = context.get_local_rank() == 0
    try:
        if writes:
            path.unlink(missing_ok=True)  # not written over: a process on its way out may map it
            save_rows(training_rows(experiment, network), path)
        barrier()
        table = open_rows(path)
        barrier()
    finally:
        if writes:
            path.unlink(missing_ok=True)
    return table


def _wrap(net: nn.Module) -> nn.Module:
    # Torch has no synchronised batch normalisation on CPUs.
    if ray.train.torch.get_device().type == "cuda":
        # Torch's own would drop the activations that timm builds into batch norms.
        net = convert_sync_batchnorm(net)
    return ray.train.torch.prepare_model(net)


def _load() -> State | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return torch.load(Path(folder) / _STATE, map_location="cpu", weights_only=True)


def _save(worker: int, state: State, metrics: Mapping[str, float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if worker == 0:
            torch.save(state, Path(folder) / _STATE)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(dict(metrics), checkpoint, checkpoint_dir_name=f"step-{state['step']:08d}")


def _failure(faults: str, error: ray.train.TrainingFailedError | None = None) -> ValueError:
    """What ended a training, as the one that trains in its own process would raise it."""
    diverged = any(read_json(uri)["diverged"] for uri in find(f"{faults}/*.json"))
    return (DivergedError if diverged else ValueError)(_why(faults, error))


def _why(faults: str, error: ray.train.TrainingFailedError | None = None) -> str:
    """What ended a training, in one message: faults that were noted, else what it died of."""
    noted = [read_json(uri)["message"] for uri in find(f"{faults}/*.json")]
    if noted or error is None:
        return "\n".join(dict.fromkeys(noted))
    failures = {"Ray Train": error}
    if isinstance(error, ray.train.WorkerGroupError):
        failures = {f"worker {rank}": one for rank, one in error.worker_failures.items()}
    died = {_reason(one): name for name, one in failures.items()}
    lines = "\n  ".join(f"{name}: {message}" for message, name in died.items())
    return (
        f"the training died more often than compute.train.max_failures allows, last of\n  {lines}\n"
        "Mend it, and the same command goes on from the last checkpoint."
    )


def _reason(error: Exception) -> str:
    """One line of an error, which may be a whole traceback."""
    lines = str(error).strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else f"{type(error).__name__}: {lines[0]}"


def _check(experiment: Experiment, network: str, rows: pads.Dataset) -> None:
    """What would fail in the workers only, or not at all.

    Raises:
        ValueError: no label at all; images of several sizes and no crop; no package for
            TensorBoard.
    """
    table = rows.to_table(["labels", "height", "width"])
    if not any(table["labels"].to_pylist()):
        raise ValueError(
            f"{network}: none of {table.num_rows} images has a label, so there is nothing to learn"
        )
    num_sizes = table.group_by(["height", "width"]).aggregate([]).num_rows
    if num_sizes > 1 and section(experiment, network).augment.crop is None:
        raise ValueError(
            f"the images have {num_sizes} sizes, and {section_key(network)}.augment.crop is null: "
            "set it to the side of a square in pixels, such as 512"
        )
    if experiment.compute.train.tensorboard:
        check_board()


def _steps_done(target: Artifact) -> int:
    return (read_json(f"{target.work}/{PROGRESS}") or {"step": 0})["step"]
