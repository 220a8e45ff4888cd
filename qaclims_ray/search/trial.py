"""One trial, in plain torch: its experiment, its training, and how well its CAMs do."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Int

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit, Optimiser
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.metrics.confusion import best_threshold, mean, mean_iou, precision, recall, sweep
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.predictor import CamPredictor, load_cam_net
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import look_up
from qaclims_ray.search.holdout import CHOOSING, read_names
from qaclims_ray.storage.files import find, read_bytes, write_json
from qaclims_ray.train.loop import Place, State, train
from qaclims_ray.train.rows import open_rows, save_rows, training_rows
from qaclims_ray.train.validation import MODEL
from qaclims_ray.types import ImageRow


class Candidate(NamedTuple):
    """A configuration that is compared over seeds."""

    name: str
    """Of its folder: that of its trial, or `default`."""
    overrides: dict[str, Any]
    base: tuple[str, ...] = ()
    """Run of the trial, whose network is used for the seed that it was trained with."""


CURVE = "curve.json"
OVERRIDES = "overrides.json"
_COLUMNS = ("name", "image", "height", "width", "labels", "mask")
_BATCH = 64


def trial_experiment(
    experiment: Experiment, run: str, overrides: Mapping[str, Any], base: Sequence[str] = ()
) -> Experiment:
    """The experiment of a trial: the search's own with overrides, in a run of its own.

    It is scored after each epoch on the images that choose, never on others.

    Args:
        experiment: Of the search, whose run holds what all trials share.
        run: Of the trial.
        overrides: Of the trial.
        base: Runs besides the search's that may hold what the trial needs.
    """
    own = {
        "run": run,
        "base": [*base, experiment.run, *experiment.base],
        "train.ritc.validate_every": 1,
        "evaluate.names": f"{experiment.run}/search/{CHOOSING}",
        "tune": {},
    }
    return experiment.with_overrides({**overrides, **own})


def seed_experiment(experiment: Experiment, folder: str, seed: int) -> Experiment:
    """The search's experiment with another `train.seed`, in a run that holds its classifier.

    Args:
        experiment: Of the search.
        folder: Of the search.
        seed: The other one.
    """
    own = {"train.seed": seed}
    return trial_experiment(experiment, f"{folder}/seeds/seed_{seed}", own)


def finalist_experiment(
    experiment: Experiment, folder: str, candidate: Candidate, seed: int
) -> Experiment:
    """The experiment of a candidate with one seed.

    It uses its trial's network where that was trained with the same seed. Else nobody asks for
    scores between the epochs.
    """
    base = (*candidate.base, seed_experiment(experiment, folder, seed).run)
    run = f"{folder}/finalists/{candidate.name}/seed_{seed}"
    own = {**candidate.overrides, "train.seed": seed}
    found = trial_experiment(experiment, run, own, base)
    if candidate.base and seed == experiment.train.seed:
        return found
    return found.with_overrides({"train.ritc.validate_every": None})


def train_here(experiment: Experiment, place: Place) -> int:
    """Train RITC in this process; return the number of images."""
    rows = training_rows(experiment, "cam_net")
    with tempfile.TemporaryDirectory() as folder:
        save_rows(rows, Path(folder, "rows"))
        table = open_rows(Path(folder, "rows"))
    names = class_names(artifact(experiment, "images"))
    train(experiment, "cam_net", table, names, place, score_choosing)
    return table.num_rows


def score_choosing(experiment: Experiment, fit: Fit) -> Callable[[CamNet], Mapping[str, float]]:
    """A function that scores a network on the images that choose, and writes its curve.

    Args:
        experiment: The trial.
        fit: Without effect: all of these images are scored.
    """
    assert experiment.evaluate.names is not None
    names = read_names(experiment.evaluate.names)

    def score(net: CamNet) -> Mapping[str, float]:
        confusion = confusions(experiment, net, names)
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


def curve(experiment: Experiment, names: Sequence[str]) -> list[float]:
    """MIoU of the trained network's CAMs on some images, at each of `evaluate.thresholds`."""
    num_classes = len(class_names(artifact(experiment, "images")))
    model = f"{artifact(experiment, 'cam_net').uri}/{MODEL}"
    net = load_cam_net(model, experiment.model.backbone, num_classes)
    return _rounded(mean_iou(confusions(experiment, net, names)))


def confusions(
    experiment: Experiment, net: CamNet, names: Sequence[str]
) -> Int[np.ndarray, "T K K"]:
    """Confusion matrices of a network's CAMs at all `evaluate.thresholds`, summed over images.

    Args:
        experiment: The trial.
        net: In evaluation mode.
        names: Images with ground truth; a few are in memory at a time.
    """
    images = artifact(experiment, "images")
    num_classes, thresholds = len(class_names(images)), experiment.evaluate.thresholds
    max_images = experiment.compute.cams.batch_size
    predictor = CamPredictor(net, **experiment.cams.fusion(), max_images=max_images)
    total = np.zeros((len(thresholds), num_classes + 1, num_classes + 1), np.int64)
    for start in range(0, len(names), _BATCH):
        found = look_up(images, names[start : start + _BATCH], _COLUMNS)
        rows = cast(list[ImageRow], found.to_pylist())
        made = predictor.predict_rows(rows, experiment.data.max_pixels)
        for row, cam in zip(rows, made, strict=True):
            assert row["mask"] is not None
            truth = decode_mask(row["mask"])
            total += sweep(full_size(cam), cam["classes"], truth, thresholds, num_classes)
    return total


def scored_in(cam_net: str) -> list[dict[str, Any]]:
    """What `score_choosing` said after each epoch so far, beside `epoch` (from 0) and `step`.

    Args:
        cam_net: Folder of a network, trained or under way.
    """
    try:
        lines = read_bytes(f"{cam_net}/metrics/validation.jsonl").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def epochs_done(folder: str) -> int:
    """Epochs that all trials together have scored, whose runs lie in a folder."""
    networks = find(f"{folder}/*/cam_net")
    return sum(len(scored_in(network)) for network in networks)


def with_own_rates(state: State, optimiser: Optimiser) -> State:
    """Another trial's state with this trial's learning rates, weight decay and momentum.

    The moments and the place in the schedule stay the other's.
    """
    fitter = state["fitter"]
    rates = [optimiser.learning_rate, optimiser.head_factor * optimiser.learning_rate]
    groups = [
        {
            **group,
            **({"momentum": optimiser.momentum} if "momentum" in group else {}),
            "weight_decay": optimiser.weight_decay,
            "initial_lr": rate,
            "lr": rate * group["lr"] / group["initial_lr"],
        }
        for group, rate in zip(fitter["optimizer"]["param_groups"], rates, strict=True)
    ]
    optimizer = {**fitter["optimizer"], "param_groups": groups}
    schedule = {**fitter["schedule"], "base_lrs": rates}
    return {**state, "fitter": {**fitter, "optimizer": optimizer, "schedule": schedule}}


def _of_objects(shares: Float[np.ndarray, "K"]) -> float:
    """Mean over the object classes that a share is defined for; 0 where there is none."""
    return float(np.nan_to_num(mean(shares[1:])))


def _rounded(values: Float[np.ndarray, "T"]) -> list[float]:
    """Plain numbers of six digits, for files."""
    return [round(float(value), 6) for value in values]
