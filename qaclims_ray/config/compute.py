"""The section `compute`: where the work runs."""

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from qaclims_ray.config.base import Section


class Pool(Section):
    """Actors (or tasks) of one map stage."""

    num_actors: PositiveInt = 1
    """How many, at least."""
    max_actors: PositiveInt | None = None
    """The pool grows to so many while work waits and the cluster has room; null: it never does."""
    num_cpus: NonNegativeFloat = 1.0
    """CPUs of each."""
    num_gpus: NonNegativeFloat = 0.0
    """GPUs of each; 0.25 packs four on one."""
    batch_size: PositiveInt = 32
    """Images handed to an actor at a time."""
    block_rows: PositiveInt = 64
    """Images of a written block: what a crash loses at most, for each actor."""

    @model_validator(mode="after")
    def _check_range(self) -> "Pool":
        if self.max_actors is not None and self.max_actors < self.num_actors:
            raise ValueError(
                f"max_actors: {self.max_actors} is less than num_actors: {self.num_actors}"
            )
        return self


class Workers(Section):
    """Ray Train workers."""

    num_workers: NonNegativeInt = 1
    """0 trains in the driver's process: without Ray Train's start-up, and without checkpoints to
    resume from. Part of every training's recipe, as it sets the global batch."""
    use_gpu: bool = False
    num_gpus: PositiveFloat = 1.0
    """GPUs of each worker, with `use_gpu`. A fraction packs several trials of one worker on a GPU;
    workers of one training need a GPU each, as NCCL does."""
    num_cpus: PositiveFloat = 1.0
    """CPUs of each worker, its torch threads."""
    num_loader_workers: NonNegativeInt = 0
    """Processes of each worker that decode and augment ahead; 0 does it in the worker."""
    min_workers: PositiveInt | None = None
    """Train with so few when the cluster has no room for more (elastic workers), and with up to
    num_workers when it has again. The remaining ones share the others' batches: steps, images and
    gradients stay the same where batch normalisation is frozen or, on GPUs, its statistics are
    the step's (`batch_norm_statistics: step`). Null: always num_workers."""
    max_failures: NonNegativeInt = 3
    """Restarts from the last checkpoint."""
    checkpoint_every: PositiveInt | None = None
    """Steps between two checkpoints; there is always one after each epoch. Null: only those."""
    keep_checkpoints: PositiveInt = 2
    """How many are kept: the latest, or with `validate_every` the best scored and the last one
    beside them."""
    cache_gigabytes: PositiveFloat | None = None
    """What a training may hold of its images in the temporary folder (`TMPDIR`) of a node, in GB.
    Null: all of them, and a node without room for them ends the training before it starts. A set
    that is larger is read from the run's storage in each epoch, ahead of its use. The order of an
    epoch is then a shuffle of row groups (64 images), and of the rows of those that are there: it
    depends on this value, on the seed and on the images of a step."""
    compile: bool = False
    """torch.compile for the network: minutes at the start. Needs a C++ compiler, and on GPUs
    Triton."""
    activation_checkpointing: bool = False
    """Compute the network's activations again in the backward pass rather than keep them: a third
    more computation, for GPUs of little memory. Not together with `compile`."""
    tensorboard: bool = False
    """Write the log for TensorBoard too. Needs the package `tensorboard`."""
    mlflow: str | None = None
    """MLflow server that trainings and searches are logged to, by its URL (`http://host:5000`,
    `sqlite:////shared/mlflow.db`); `name` is the experiment there. Needs the package `mlflow`."""
    wandb: str | None = None
    """Project of Weights & Biases that trainings and searches are logged to; WANDB_API_KEY and
    WANDB_MODE=offline are read from the environment of the workers. Needs the package `wandb`."""

    @model_validator(mode="after")
    def _check_range(self) -> "Workers":
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers: {self.min_workers} is more than num_workers: {self.num_workers}"
            )
        if self.compile and self.activation_checkpointing:
            raise ValueError("torch can't compile what activation_checkpointing does: choose one")
        return self


class Trials(Section):
    """Where the trials of a search run.

    Each trains by the workers of `compute.train`; with `num_workers: 0`, the cheap way for small
    trials, in its own process. A search that is taken up obeys the values of today.
    """

    max_concurrent: PositiveInt = 2
    """Trials at a time."""
    num_cpus: PositiveFloat = 1.0
    """CPUs of a trial that trains in its own process, its torch threads."""
    num_gpus: NonNegativeFloat = 0.0
    """GPUs of a trial that trains in its own process; 0.25 packs four on one."""
    max_seconds: PositiveFloat | None = None
    """Time budget of the trials; what is done by then is compared. null: none. It begins anew when
    a search is taken up."""
    max_failures: NonNegativeInt = 1
    """Times that a trial goes on from its last checkpoint before it is recorded as failed. A search
    that is taken up tries failed trials again."""


class Compute(Section):
    """Where the work runs.

    Of all this `train.num_workers` alone changes a result, and `train.cache_gigabytes` where images
    are more than that; but for roundings of CAMs to float16, which the number of images in a batch
    may change.
    """

    address: str | None = None
    """Address of a running Ray cluster (`auto` finds it); null starts Ray on this machine."""
    autoscales: bool | None = None
    """Whether that cluster adds nodes as they are asked for, so that stages wait for them; null: it
    does if its head has no CPUs, as in `cluster.yaml`."""
    num_cpus: PositiveInt | None = None
    """CPUs of a Ray started here; null: the machine's, at least 4 (waiting actors hold some)."""
    object_store_megabytes: PositiveInt | None = None
    """Object store of a Ray started here, in MB; null: Ray's default."""
    ingest: Pool = Pool(num_actors=2, block_rows=512)
    corpus: Pool = Pool()
    texts: Pool = Pool(batch_size=256)
    train: Workers = Workers()
    cams: Pool = Pool()
    refine: Pool = Pool()
    segment: Pool = Pool(batch_size=8)
    evaluate: Pool = Pool()
    tune: Trials = Trials()
