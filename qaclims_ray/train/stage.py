"""Training under Ray Train: the classifier (baseline CAM) and RITC (QA-CLIMS).

`classifier` reads `images`; `cam_net` reads `images`, `pairs`, `texts` and `classifier`.
Each writes `model.safetensors`, `config.yaml` and `metrics/`, one JSON-lines file per epoch.
"""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
from torch import nn

from qaclims_ray.artifacts import Artifact, Built, artifact, class_names, make
from qaclims_ray.compute import run_config, scaling, start
from qaclims_ray.config import Experiment, dump
from qaclims_ray.progress import watch
from qaclims_ray.storage import read_json, write_bytes
from qaclims_ray.tables import read_table
from qaclims_ray.train.loop import PROGRESS, Place, State, num_steps, section, train

Network = Literal["classifier", "cam_net"]
_STATE = "state.pt"


def run(experiment: Experiment, network: Network, *, overwrite: bool = False) -> str:
    """Train a network, write its artifact and return its summary line."""
    return make(experiment, network, partial(_train, experiment), overwrite)


def run_both(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Train the classifier, then RITC upon it; return both summary lines."""
    networks: tuple[Network, ...] = ("classifier", "cam_net")
    return "\n".join([run(experiment, network, overwrite=overwrite) for network in networks])


def _train(experiment: Experiment, target: Artifact) -> Built:
    table = _training_table(experiment, target.name)
    _check_sizes(experiment, target.name)
    workers = experiment.compute.train
    steps = num_steps(experiment, target.name, table.num_rows, max(1, workers.num_workers))
    names = class_names(artifact(experiment, "images"))
    with watch(target.name, partial(_steps_done, target), steps, unit="step"):
        if workers.num_workers == 0:
            train(experiment, target.name, table, names, Place())
        else:
            _train_on_ray(experiment, target, table, names)
    write_bytes(f"{target.uri}/config.yaml", dump(experiment).encode())
    num_images = section(experiment, target.name).epochs * table.num_rows
    return Built(num_images, 0, {"class_names": list(names), "steps": steps})


def _train_on_ray(
    experiment: Experiment, target: Artifact, table: pa.Table, names: tuple[str, ...]
) -> None:
    start(experiment.compute)
    workers = experiment.compute.train
    arguments = {
        "experiment": experiment.anchored().plain(),
        "network": target.name,
        "class_names": names,
        # One copy in each node's object store, which all its workers map.
        "images": [ray.put(table)],
    }
    ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config=arguments,
        scaling_config=scaling(workers),
        run_config=run_config(workers, target),
    ).fit()


def _worker(arguments: dict[str, Any]) -> None:
    experiment = Experiment.model_validate(arguments["experiment"])
    context = ray.train.get_context()
    place = Place(
        worker=context.get_world_rank(),
        num_workers=context.get_world_size(),
        device=ray.train.torch.get_device(),
        wrap=_wrap,
        load=_load,
        save=partial(_save, context.get_world_rank()),
    )
    table = ray.get(arguments["images"][0])
    train(experiment, arguments["network"], table, tuple(arguments["class_names"]), place)


def _wrap(net: nn.Module) -> nn.Module:
    # Torch has no synchronised batch normalisation on CPUs.
    if ray.train.torch.get_device().type == "cuda":
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net).to(memory_format=torch.channels_last)
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
        ray.train.report(
            dict(metrics), checkpoint, checkpoint_dir_name=f"epoch-{state['epoch']:03d}"
        )


def _training_table(experiment: Experiment, network: str) -> pa.Table:
    """Names, encoded images and labels that a network trains on.

    RITC leaves out images without answers, such as those that the VQA model failed on.
    """
    images = artifact(experiment, "images")
    images.require()
    table = read_table(images, ["name", "image", "labels"])
    if network == "classifier":
        return table
    for name in ("pairs", "texts", "classifier"):
        artifact(experiment, name).require()
    asked = set(read_table(artifact(experiment, "pairs"), ["name"])["name"].to_pylist())
    return table.filter([name in asked for name in table["name"].to_pylist()])


def _check_sizes(experiment: Experiment, network: str) -> None:
    """Without a crop, only images of one size fit into a batch."""
    if section(experiment, network).augment.crop is not None:
        return
    sizes = read_table(artifact(experiment, "images"), ["height", "width"]).group_by(
        ["height", "width"]
    )
    num_sizes = sizes.aggregate([]).num_rows
    if num_sizes > 1:
        key = "classifier" if network == "classifier" else "ritc"
        raise ValueError(
            f"the images have {num_sizes} sizes, and train.{key}.augment.crop is null: set it to "
            "the side of a square in pixels, such as 512"
        )


def _steps_done(target: Artifact) -> int:
    return (read_json(f"{target.work}/{PROGRESS}") or {"step": 0})["step"]
