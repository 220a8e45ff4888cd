import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from qaclims_ray.model.predictor import load_cam_net
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.storage.files import write_json
from qaclims_ray.train.checkpoint import NoCheckpoints
from qaclims_ray.train.classifier import ClassifierTask
from qaclims_ray.train.deal import epoch_rows
from qaclims_ray.train.faults import DivergedError
from qaclims_ray.train.loop import Trainer, Worker, train
from qaclims_ray.train.sets import WholeSet
from qaclims_ray.train.task import Task, num_steps
from tests.build import manifest

CLASSES = ("cat", "dog", "boat")
RANDOM_START = {"model.backbone_weights": None, "train.classifier.epochs": 2}


class Memory:
    """Keeps the states of a worker as bytes would be kept, and can be switched off."""

    def __init__(self, last_step=None):
        self.states = []
        self.metrics = []
        self._last_step = last_step

    def load(self):
        return self.states[-1] if self.states else None

    def save(self, state, metrics):
        self.states.append(_copied(state))
        self.metrics.append(metrics)
        if state["step"] == self._last_step:
            raise KeyboardInterrupt


def _copied(tree):
    if isinstance(tree, torch.Tensor):
        return tree.clone()
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


@pytest.fixture(scope="module")
def table(png):
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    rows = [
        {"name": f"i{number:02d}", "image": png(image), "labels": [number % 3]}
        for number, image in enumerate(noise)
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture
def run(make_experiment, table, tmp_path):
    """Trains a classifier in a folder of its own, or by another task; gives its weights."""

    def run(folder, checkpointer=None, make_scorer=None, worker=None, task=None, **overrides):
        experiment = make_experiment(tmp_path / folder, {**RANDOM_START, **overrides})
        data, worker = WholeSet(table, CLASSES), worker or Worker()
        rest = worker, checkpointer or NoCheckpoints(), make_scorer
        if task is None:
            train(experiment, "classifier", data, *rest)
        else:
            made = task(experiment, data, worker.device)
            Trainer(experiment, "classifier", made, *rest).run()
        return load_file(tmp_path / folder / "classifier" / "model.safetensors")

    return run


def _assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)


def test_two_runs_with_one_seed_are_equal(run):
    _assert_equal(run("one"), run("other"))


def test_another_seed_is_another_run(run):
    one, other = run("one"), run("other", **{"train.seed": 1})
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def _interrupted(run, step, **overrides):
    """What a training leaves that ends right after its checkpoint at a step."""
    memory = Memory(last_step=step)
    with pytest.raises(KeyboardInterrupt):
        run("interrupted", memory, **overrides)
    resumed = Memory()
    resumed.states = memory.states[-1:]
    return resumed


def _log(folder):
    return [
        json.loads(line)
        for path in sorted((folder / "classifier" / "metrics").glob("epoch-*.jsonl"))
        for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_resumed_training_ends_as_an_undisturbed_one(run, tmp_path, step):
    often = {"compute.train.checkpoint_every": 1}
    resumed = _interrupted(run, step, **often)
    _assert_equal(run("interrupted", resumed, **often), run("straight"))
    assert [state["step"] for state in resumed.states] == list(range(step, 5))
    for one, other in zip(_log(tmp_path / "interrupted"), _log(tmp_path / "straight"), strict=True):
        for key in ("epoch", "step", "total", "learning_rate", "grad_norm"):
            assert one[key] == other[key]


def test_steps_after_the_checkpoint_are_logged_once(run, tmp_path):
    """A log that is ahead of the checkpoint, as after a kill between the two, is cut back."""
    often = {"compute.train.checkpoint_every": 1}
    resumed = _interrupted(run, 2, **often)
    resumed.states = [{**resumed.states[0], "step": 1}]
    run("interrupted", resumed, **often)
    assert [row["step"] for row in _log(tmp_path / "interrupted")] == [0, 1, 2, 3]


def test_checkpoints_come_every_n_steps_and_after_each_epoch(run):
    memory = Memory()
    run("one", memory, **{"compute.train.checkpoint_every": 3})
    assert [state["step"] for state in memory.states] == [2, 3, 4]
    memory = Memory()
    run("other", memory)
    assert [state["step"] for state in memory.states] == [2, 4]


def test_a_training_whose_last_epoch_was_saved_only_writes_its_model(run):
    resumed = _interrupted(run, 4)
    _assert_equal(run("interrupted", resumed), run("straight"))
    assert resumed.metrics == []


def test_one_worker_that_accumulates_takes_the_steps_of_one_that_does_not(run):
    """Equal up to batch norms, which are fixed here and see one batch at a time elsewhere."""
    fixed = {
        "train.classifier.freeze_batch_norm": True,
        "train.classifier.batch_size_per_worker": 4,
    }
    one = run("one", **fixed)
    halves = {
        "train.classifier.batch_size_per_worker": 2,
        "train.classifier.gradient_accumulation": 2,
    }
    other = run("other", **{**fixed, **halves})
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)


def test_fewer_workers_take_the_steps_of_all(run):
    """What elastic training relies on: the step belongs to the recipe, not to the workers."""
    recipe = {"compute.train.num_workers": 2, "train.classifier.batch_size_per_worker": 4}
    alone = {
        "train.classifier.gradient_accumulation": 2,
        "train.classifier.batch_size_per_worker": 4,
    }
    _assert_equal(run("one", **recipe), run("other", **alone))


def test_a_loss_that_is_not_finite_names_step_and_images_and_keeps_the_checkpoint(run, tmp_path):
    memory = Memory()
    often = {"compute.train.checkpoint_every": 1, "train.classifier.optimiser.learning_rate": 1e30}
    told = r"classifier, step 1: the loss is not finite.*\['i\d\d'"
    with pytest.raises(DivergedError, match=told):
        run("one", memory, **often)
    assert [state["step"] for state in memory.states] == [1]
    assert [row["step"] for row in _log(tmp_path / "one")] == [0]
    assert not (tmp_path / "one" / "classifier" / "model.safetensors").exists()


def _scores(values):
    """A function that scores networks by a list of values."""
    given = iter(values)
    return lambda experiment, fit: lambda net: {"miou": next(given), "threshold": 0.5}


VALIDATED = {"train.classifier.validate_every": 1, "train.classifier.epochs": 3}


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_best_weights_are_kept_and_become_the_model_if_asked(run, tmp_path, keep):
    memory = Memory()
    overrides = {**VALIDATED, "train.classifier.keep": keep}
    model = run("one", memory, make_scorer=_scores([0.2, 0.6, 0.4]), **overrides)
    wanted = memory.states[1 if keep == "best" else 2]["model"]
    _assert_equal(model, wanted)
    folder = tmp_path / "one" / "classifier"
    _assert_equal(load_file(folder / "best.safetensors"), memory.states[1]["model"])
    lines = (folder / "metrics" / "validation.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["epoch"], row["step"], row["miou"]) for row in rows] == [
        (0, 2, 0.2), (1, 4, 0.6), (2, 6, 0.4)
    ]  # fmt: skip
    assert [metrics["miou"] for metrics in memory.metrics] == [0.2, 0.6, 0.4]


def test_scores_change_no_step(run):
    scored = run("one", make_scorer=_scores([0.2, 0.6, 0.4]), **VALIDATED)
    _assert_equal(scored, run("other", **{"train.classifier.epochs": 3}))


def test_a_resumed_training_remembers_its_scores(run, tmp_path):
    memory = Memory(last_step=4)
    with pytest.raises(KeyboardInterrupt):
        run("one", memory, make_scorer=_scores([0.2, 0.6]), **VALIDATED)
    resumed = Memory()
    resumed.states = memory.states
    run("one", resumed, make_scorer=_scores([0.4]), **VALIDATED)
    folder = tmp_path / "one" / "classifier"
    _assert_equal(load_file(folder / "best.safetensors"), memory.states[1]["model"])
    assert len((folder / "metrics" / "validation.jsonl").read_text().splitlines()) == 3


def test_every_third_epoch_and_the_last_are_scored(run):
    memory = Memory()
    overrides = {"train.classifier.validate_every": 3, "train.classifier.epochs": 4}
    run("one", memory, make_scorer=_scores([0.2, 0.6]), **overrides)
    assert ["miou" in metrics for metrics in memory.metrics] == [False, False, True, True]


def test_keeping_the_best_needs_scores(make_experiment, tmp_path):
    with pytest.raises(ValueError, match="keep: best needs scores"):
        make_experiment(tmp_path, {"train.ritc.keep": "best"})


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:test_vit"])
def test_a_backbone_of_timm_trains_and_predicts(run, tmp_path, name):
    model = run("one", **{"model.backbone": name})
    net = load_cam_net(str(tmp_path / "one/classifier/model.safetensors"), name, 3)
    assert net.state_dict().keys() == model.keys()
    assert net(torch.zeros(1, 3, 32, 48)).shape == (1, 3, 2, 3)


@pytest.mark.slow
def test_a_compiled_backbone_trains_alike(run):
    """Adam moves each weight by the sign of its gradient, which is noise where it is small."""
    plain = {"train.classifier.optimiser.kind": "sgd", "train.classifier.validate_every": 1}
    scores = _scores([0.1, 0.2, 0.1, 0.2])
    one = run("one", make_scorer=scores, **plain, **{"compute.train.compile": True})
    other = run("other", make_scorer=scores, **plain)
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=1e-3, atol=1e-4)


def test_activation_checkpoints_are_not_compiled(make_experiment, tmp_path):
    both = {"compute.train.compile": True, "compute.train.activation_checkpointing": True}
    with pytest.raises(ValueError, match="choose one"):
        make_experiment(tmp_path, both)


def test_activation_checkpoints_change_no_result(run):
    saving = {"compute.train.activation_checkpointing": True}
    _assert_equal(run("one", **saving), run("other"))


def test_every_step_is_logged_once(run, tmp_path):
    memory = Memory()
    run("one", memory)
    files = sorted((tmp_path / "one" / "classifier" / "metrics").iterdir())
    assert [path.name for path in files] == ["epoch-000.jsonl", "epoch-001.jsonl"]
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in files]
    assert [[row["step"] for row in epoch] for epoch in rows] == [[0, 1], [2, 3]]
    assert {
        "epoch",
        "total",
        "learning_rate",
        "grad_norm",
        "images_per_second",
        "data_wait",
    } <= set(rows[0][0])
    means = [np.mean([row["total"] for row in epoch]) for epoch in rows]
    assert [metrics["total"] for metrics in memory.metrics] == pytest.approx(means)


def test_only_worker_0_writes(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        run("one", worker=Worker(rank=1, world_size=2), **{"compute.train.num_workers": 2})
    assert not list((tmp_path / "one").rglob("*"))


def test_steps_count_the_batches_of_all_workers(make_experiment, tmp_path):
    def count(num_images, **overrides):
        overrides = {f"{key.replace('__', '.')}": value for key, value in overrides.items()}
        experiment = make_experiment(tmp_path, {**RANDOM_START, **overrides})
        assert experiment.train.classifier.batch_size_per_worker == 8
        return num_steps(experiment, "classifier", num_images)

    two = {"compute__train__num_workers": 2}
    assert [count(40), count(40, **two), count(16, **two)] == [10, 4, 2]
    assert count(40, train__classifier__gradient_accumulation=2, **two) == 2
    with pytest.raises(ValueError, match=r"15 images are fewer than the 16 of one step: lower tr"):
        count(15, **two)


def test_an_epoch_sees_each_image_once_but_for_the_rest(run):
    """Twenty images by eights: sixteen different ones an epoch, other four left each time."""
    seen = []

    class Watched(ClassifierTask):
        def loss(self, output, batch):
            seen.extend(batch.names)
            return super().loss(output, batch)

    run("one", task=Watched)
    assert [len(set(seen[:16])), len(set(seen[16:]))] == [16, 16]
    assert set(seen[:16]) != set(seen[16:])


class Noisy(ClassifierTask):
    """A loss that depends on torch's random state."""

    def loss(self, output, batch):
        return {"total": super().loss(output, batch)["total"] * (0.5 + torch.rand(()))}


def test_a_resumed_training_draws_the_same_random_numbers(run):
    often = {"compute.train.checkpoint_every": 1}
    resumed = _interrupted(run, 3, task=Noisy, **often)
    torch.manual_seed(99)
    resumed = run("interrupted", resumed, task=Noisy, **often)
    _assert_equal(resumed, run("straight", task=Noisy))


class Counted(ClassifierTask):
    """Logs how many images a batch has, and the largest number of one."""

    maxima = frozenset({"last"})

    def loss(self, output, batch):
        last, size = batch.rows[-1], torch.tensor(len(batch.rows))
        return {**super().loss(output, batch), "last": last, "size": size}


def test_a_task_says_which_scalars_are_largest_values(run, tmp_path):
    two = {"train.classifier.batch_size_per_worker": 4}
    two["train.classifier.gradient_accumulation"] = 2
    run("one", task=Counted, **two)
    lasts = [
        max(rows[3], rows[7])
        for epoch in range(2)
        for rows in epoch_rows(20, seed=0, epoch=epoch, num_batches=1, images_per_batch=8)[:, 0]
    ]
    assert [(row["last"], row["size"]) for row in _log(tmp_path / "one")] == [
        (last, 4) for last in lasts
    ]


class Finished(ClassifierTask):
    """Computes something once, after the last epoch, as boundary networks do."""

    def finish(self, net):
        assert not net.training
        assert not torch.is_grad_enabled()
        net.classifier.weight.fill_(net.backbone.layer1.conv1.weight.mean())


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_task_finishes_the_network_before_it_is_written(run, keep):
    """The weights that are kept, whichever they are, and even where all epochs were done."""
    memory = Memory()
    options = {**VALIDATED, "train.classifier.keep": keep}
    scores = [0.2, 0.6, 0.4]
    finished = run("one", memory, _scores(scores), task=Finished, **options)
    kept = memory.states[1 if keep == "best" else 2]["model"]
    assert (finished["classifier.weight"] == kept["backbone.layer1.conv1.weight"].mean()).all()
    changed = {name for name, value in kept.items() if not torch.equal(finished[name], value)}
    assert changed == {"classifier.weight"}
    again = Memory()
    again.states = memory.states[-1:]
    _assert_equal(run("one", again, _scores([]), task=Finished, **options), finished)


def test_a_training_scores_as_its_task_says_unless_told_otherwise(run):
    class Scored(ClassifierTask):
        def scorer(self):
            return lambda net: {"miou": 0.25}

    memory = Memory()
    run("one", memory, task=Scored, **VALIDATED)
    assert [metrics["miou"] for metrics in memory.metrics] == [0.25] * 3
    memory = Memory()
    run("other", memory, _scores([0.2, 0.6, 0.4]), task=Scored, **VALIDATED)
    assert [metrics["miou"] for metrics in memory.metrics] == [0.2, 0.6, 0.4]


@pytest.mark.parametrize(
    "damage",
    [
        {"step": 2, "scores": []},
        {"step": 2, "scores": [], "model": {}, "optimizer": {}, "schedule": {}},
    ],
)
def test_a_state_that_does_not_fit_is_a_clear_error(run, damage):
    memory = Memory()
    memory.states = [damage]
    with pytest.raises(ValueError, match=r"checkpoint can't be used: .*\n.*--overwrite"):
        run("one", memory)


def test_a_base_run_is_left_alone(make_experiment, table, tmp_path):
    """Training anew what a base run has too must not write there."""
    base = make_experiment(tmp_path / "base", RANDOM_START)
    shared = own_artifact(base, "classifier")
    write_json(f"{shared.uri}/_COMPLETE.json", manifest(shared.name, digest=shared.digest))
    own = base.with_overrides({"run": str(tmp_path / "own"), "base": [base.run]})
    assert artifact(own, "classifier") == shared
    train(own, "classifier", WholeSet(table, CLASSES), Worker(), NoCheckpoints())
    assert [path.name for path in Path(shared.uri).iterdir()] == ["_COMPLETE.json"]
    assert (tmp_path / "own" / "classifier" / "model.safetensors").is_file()


def test_a_training_that_has_no_scores_says_so(run):
    class Unscored(ClassifierTask):
        scorer = Task.scorer

    with pytest.raises(ValueError, match="validate_every: this network is not scored"):
        run("one", task=Unscored, **VALIDATED)


def test_a_task_that_lacks_a_part_is_noticed_at_once():
    class Half(Task):
        def network(self):
            return torch.nn.Conv2d(3, 1, 1)

    with pytest.raises(TypeError, match="dataset"):
        Half()
