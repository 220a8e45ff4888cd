"""One trial in plain torch: its experiment, its state, and the scores of its CAMs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.train import Fit
from qaclims_ray.metrics.confusion import best_threshold, mean, mean_iou, precision, recall
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.predictor import load_cam_net
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.name_list import read_names
from qaclims_ray.run.tables import NameIndex
from qaclims_ray.search.holdout import SELECTION
from qaclims_ray.storage.files import atomic_open, read_bytes, write_json
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.records import require_record
from qaclims_ray.train.checkpoint import State, parse_state
from qaclims_ray.train.validation import MODEL, SCORED_COLUMNS, Scorer, count_confusions


class Candidate(NamedTuple):
    """A configuration that is compared over seeds."""

    name: str
    """Name of its trial, or `default`."""
    overrides: Tree
    base: tuple[str, ...] = ()
    """Run of its trial, whose network is used for the seed that it was trained with."""


CURVE = "curve.json"
OVERRIDES = "overrides.json"
_BATCH = 64


def trial_experiment(
    experiment: Experiment, run: str, overrides: Mapping[str, Any], base: Sequence[str] = ()
) -> Experiment:
    """Make the experiment of a trial: that of the search with overrides, in a run of its own.

    It is scored after each epoch, on the selection images alone.

    Args:
        experiment: Experiment of the search, whose run holds the artifacts that all trials share.
        run: Run of the trial.
        overrides: Overrides of the trial.
        base: Runs besides the search's that may hold artifacts of the trial.
    """
    own = {
        "run": run,
        "base": [*base, experiment.run, *experiment.base],
        "train.ritc.validate_every": 1,
        "evaluate.names": f"{experiment.run}/search/{SELECTION}",
        "tune": {},
        # Tune logs its trials.
        "compute.train.mlflow": None,
        "compute.train.wandb": None,
    }
    return experiment.with_overrides({**overrides, **own})


def seed_experiment(experiment: Experiment, folder: str, seed: int) -> Experiment:
    """Make the experiment of a search with another `train.seed`, whose run holds its classifier.

    Args:
        experiment: Experiment of the search.
        folder: Folder of the search.
        seed: The other seed.
    """
    own = {"train.seed": seed}
    return trial_experiment(experiment, f"{folder}/seeds/seed_{seed}", own)


def finalist_experiment(
    experiment: Experiment, folder: str, candidate: Candidate, seed: int
) -> Experiment:
    """Make the experiment of a candidate with one seed.

    It uses the network of the candidate's trial if that was trained with the same seed; any other
    network is not scored between its epochs.
    """
    base = (*candidate.base, seed_experiment(experiment, folder, seed).run)
    run = f"{folder}/finalists/{candidate.name}/seed_{seed}"
    own = {**candidate.overrides, "train.seed": seed}
    found = trial_experiment(experiment, run, own, base)
    if candidate.base and seed == experiment.train.seed:
        return found
    return found.with_overrides({"train.ritc.validate_every": None})


def make_selection_scorer(experiment: Experiment, fit: Fit) -> Scorer[CamNet]:
    """Make the scorer of a trial, which scores CAMs on the selection images and writes the curve.

    Args:
        experiment: Experiment of the trial.
        fit: Has no effect, as all selection images are scored.
    """
    names = experiment.evaluate.names
    assert names is not None

    def score(net: CamNet) -> Mapping[str, float]:
        """Score a network's CAMs by each of the metrics, and write their mIoU at each threshold."""
        confusion = confusions(experiment, net, read_names(names))
        thresholds = experiment.evaluate.thresholds
        curve = _rounded(mean_iou(confusion))
        write_json(f"{experiment.run}/{CURVE}", curve)
        distances = [abs(one - experiment.evaluate.threshold) for one in thresholds]
        threshold, miou = best_threshold(confusion, thresholds)
        best = confusion[thresholds.index(threshold)]
        return {
            "miou": miou,
            "threshold": threshold,
            "fixed_miou": curve[int(np.argmin(distances))],
            "precision": _of_objects(precision(best)),
            "recall": _of_objects(recall(best)),
        }

    return score


def curve(experiment: Experiment, names: Iterable[str]) -> list[float]:
    """Score CAMs of the trained network on some images: mIoU at each of `evaluate.thresholds`."""
    num_classes = len(class_names(artifact(experiment, "images")))
    model = f"{artifact(experiment, 'cam_net').uri}/{MODEL}"
    net = load_cam_net(model, experiment.model.backbone, num_classes)
    return _rounded(mean_iou(confusions(experiment, net, names)))


def confusions(
    experiment: Experiment, net: CamNet, names: Iterable[str]
) -> Int[np.ndarray, "T K K"]:
    """Count confusions of a network's CAMs at all `evaluate.thresholds`, summed over images.

    Args:
        experiment: Experiment of the trial.
        net: The network, in evaluation mode.
        names: Names of images with ground truth, sorted; a few are in memory at a time.
    """
    images = artifact(experiment, "images")
    num_classes, index = len(class_names(images)), NameIndex(images)
    size, remaining = num_classes + 1, iter(names)
    total = np.zeros((len(experiment.evaluate.thresholds), size, size), np.int64)
    while batch := list(islice(remaining, _BATCH)):
        rows = index.look_up(batch, SCORED_COLUMNS).to_pylist()
        total += count_confusions(experiment, net, rows, num_classes)
    return total


def begun_trials(folder: str) -> dict[str, Tree]:
    """Read the overrides of the trials whose runs lie in a folder, by their names."""
    return {
        uri.split("/")[-2]: require_record(uri, Tree) for uri in find(f"{folder}/*/{OVERRIDES}")
    }


class TrialCheckpointer:
    """Keeps the state of a trial that trains in one process, in its network's unfinished work."""

    def __init__(self, target: Artifact, saved: Callable[[], None]) -> None:
        """Keep the state of one trial.

        Args:
            target: The network that is trained.
            saved: Called each time that a state has been saved.
        """
        self._uri = f"{target.work}/state.pt"
        self._saved = saved

    def load(self) -> State | None:
        """Load the last state that was saved; None: there is none."""
        try:
            return parse_state(BytesIO(read_bytes(self._uri)), self._uri)
        except FileNotFoundError:
            return None

    def save(self, state: State, metrics: Mapping[str, float]) -> None:
        """Save a state in place of the one before."""
        with atomic_open(self._uri, durable=True) as file:
            torch.save(state, file)
        self._saved()


def _of_objects(shares: Float[np.ndarray, "K"]) -> float:
    """Average a share over the object classes that it is defined for; 0 if there is none."""
    return float(np.nan_to_num(mean(shares[1:])))


def _rounded(values: Float[np.ndarray, "T"]) -> list[float]:
    """Round to plain numbers of six digits, for files."""
    return [round(float(value), 6) for value in values]
