"""Training under Ray Train: the classifier (baseline CAM) and RITC (QA-CLIMS).

`classifier` reads `images`; `cam_net` reads `images`, `pairs`, `texts` and `classifier`, and
`clip_cams` where `train.ritc.loss.clip_cams` gives them a weight.
Each writes `model.safetensors`, `config.yaml` and `metrics/`, one JSON-lines file per epoch; with
`validate_every` also `best.safetensors` and `metrics/validation.jsonl`, and `tensorboard/` if
asked.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import ray
import ray.exceptions
import ray.train
import ray.train.torch
from ray.train.collective import barrier, broadcast_from_rank_zero
from torch import nn

from qaclims_ray.cluster.session import start
from qaclims_ray.cluster.training import fit, run_config, scaling
from qaclims_ray.config.experiment import Experiment, dump
from qaclims_ray.run.artifact import Artifact, own_artifact
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built, Facts
from qaclims_ray.run.progress import watch
from qaclims_ray.storage.files import remove, write_bytes
from qaclims_ray.storage.filesystem import is_transient
from qaclims_ray.train.cache import Plan, buffered_set, save_whole
from qaclims_ray.train.cache import plan as plan_of
from qaclims_ray.train.checkpoint import State, load_state, save_state
from qaclims_ray.train.faults import failure, note_fault, noted_faults
from qaclims_ray.train.groups import Survey
from qaclims_ray.train.log import Progress, ends_dead
from qaclims_ray.train.loggers import check_boards
from qaclims_ray.train.loop import Worker, train, train_here
from qaclims_ray.train.rows import open_rows
from qaclims_ray.train.sets import WholeSet
from qaclims_ray.train.task import (
    TRAININGS,
    images_per_step,
    num_steps,
    section_key,
    settings,
)
from qaclims_ray.train.validation import SCORE, MakeScorer

COSTLY = ("train/*/step-*",)
"""Patterns of what an unfinished training leaves in its work that took long to make."""


def run(
    experiment: Experiment,
    network: str,
    *,
    overwrite: bool = False,
    make_scorer: MakeScorer | None = None,
) -> str:
    """Train a network, write its artifact and return its summary line.

    Args:
        experiment: The run.
        network: Name of the network in `TRAININGS`.
        overwrite: Train anew what is complete.
        make_scorer: Makes the scores that `validate_every` asks for; None: the training does.
    """
    build = partial(_train, experiment, make_scorer)
    return make(experiment, network, build, overwrite, costly=COSTLY)


def _train(experiment: Experiment, make_scorer: MakeScorer | None, target: Artifact) -> Built:
    plan = plan_of(experiment, target.name)
    _check(experiment, target.name, plan.found)
    steps = num_steps(experiment, target.name, plan.found.num_images)
    progress = Progress(target)
    with watch(target.name, progress, steps, unit="step"):
        if experiment.compute.train.num_workers == 0:
            train_here(experiment, target.name, plan, make_scorer=make_scorer)
        else:
            _train_on_ray(experiment, target, plan, make_scorer)
    write_bytes(f"{target.uri}/config.yaml", dump(experiment).encode())
    facts: Facts = {"class_names": list(plan.class_names), "steps": steps}
    facts |= TRAININGS[target.name].facts(experiment)
    if ends_dead(target):
        progress.warn()
        facts["dead_maps"] = True
    if plan.buffer_bytes is not None:
        facts["buffer_bytes"] = plan.buffer_bytes
    return Built(steps * images_per_step(experiment, target.name), 0, facts, (steps, "steps"))


def _train_on_ray(
    experiment: Experiment,
    target: Artifact,
    plan: Plan,
    make_scorer: MakeScorer | None,
) -> None:
    start(experiment.compute)
    faults = f"{target.work}/faults"
    remove(faults)
    scored = settings(experiment, target.name).validate_every is not None
    trainer = ray.train.torch.TorchTrainer(
        partial(_worker, experiment.anchored(), target.name, plan, make_scorer, faults),
        scaling_config=scaling(experiment.compute),
        run_config=run_config(experiment.compute.train, target, SCORE if scored else None),
    )
    try:
        fit(trainer)
    except ray.train.TrainingFailedError as error:
        raise failure(faults, _deaths(error)) from None
    except ray.exceptions.RayActorError as error:  # Ray Train's own process, its controller
        raise ValueError(
            f"the controller of Ray Train died ({type(error).__name__}), killed or for lack of "
            "memory. The same command goes on from the last checkpoint."
        ) from None
    if noted_faults(faults):
        raise failure(faults, {})


def _deaths(error: ray.train.TrainingFailedError) -> Mapping[str, Exception]:
    """Last error of each worker that died, or Ray Train's own."""
    if isinstance(error, ray.train.WorkerGroupError):
        return {f"worker {rank}": death for rank, death in error.worker_failures.items()}
    return {"Ray Train": error}


def _worker(
    experiment: Experiment,
    network: str,
    plan: Plan,
    make_scorer: MakeScorer | None,
    faults: str,
) -> None:
    """Train as one of the workers; a fault that would only happen again is noted (faults.py)."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if broadcast_from_rank_zero(noted_faults(faults)):
        return
    worker = RayWorker(rank, context.get_world_size(), ray.train.torch.get_device())
    try:
        data = buffered_set(plan) or _whole_set(experiment, network, plan)
        train(experiment, network, data, worker, RayCheckpointer(rank), make_scorer)
    except ValueError as error:
        # What time may mend, such as a storage that does not answer, is tried again.
        if not (isinstance(error.__cause__, Exception) and is_transient(error.__cause__)):
            note_fault(faults, rank, error)
        raise


class RayWorker(Worker):
    """A worker of Ray Train."""

    def join(self, net: nn.Module) -> nn.Module:
        """Wrap a network so that its gradients, and on GPUs its batch norms, are all workers'."""
        # Torch has no synchronised batch normalisation on CPUs.
        if self.device.type == "cuda":
            # Torch's own would drop the activations that timm builds into batch norms.
            from timm.layers.norm_act import convert_sync_batchnorm

            net = convert_sync_batchnorm(net)
        # Buffers are statistics for later use: those of worker 0 are kept, nobody else reads his.
        options = {"broadcast_buffers": False}
        return ray.train.torch.prepare_model(net, parallel_strategy_kwargs=options)


class RayCheckpointer:
    """Keeps the state of a training where Ray Train keeps its checkpoints."""

    def __init__(self, rank: int) -> None:
        """Save the states of worker 0; those of the others are the same."""
        self._rank = rank

    def load(self) -> State | None:
        """Load the last state that was saved."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return load_state(folder)

    def save(self, state: State, metrics: Mapping[str, float]) -> None:
        """Report a state of worker 0, and that the others have come as far."""
        name = f"step-{state['step']:08d}"
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if self._rank == 0:
                save_state(state, folder)
                checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(dict(metrics), checkpoint, checkpoint_dir_name=name)


def _whole_set(experiment: Experiment, network: str, plan: Plan) -> WholeSet:
    """Open the set in a file that all workers of this node map, and that goes when they do.

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
            save_whole(plan, path)
        barrier()
        table = open_rows(path)
        barrier()
    finally:
        if writes:
            path.unlink(missing_ok=True)
    return WholeSet(table, plan.class_names)


def _check(experiment: Experiment, network: str, found: Survey) -> None:
    """Look for what would fail in the workers only, or not at all.

    Raises:
        ValueError: no label at all; images of several sizes and no crop; no package for
            TensorBoard, MLflow or Weights & Biases.
    """
    if not found.num_labels:
        raise ValueError(
            f"{network}: none of {found.num_images} images has a label, so there is nothing to "
            "learn"
        )
    if found.num_sizes > 1 and settings(experiment, network).augment.crop is None:
        raise ValueError(
            f"the images have different sizes, and {section_key(network)}.augment.crop is null: "
            "set it to the side of a square in pixels, such as 512"
        )
    check_boards(experiment.compute.train)
