"""mIoU of CAMs against the ground truth, at all thresholds in one pass.

Reads `images` and `cams` (or `baseline_cams`); writes `scores` (or `baseline_scores`).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import ray.data

from qaclims_ray.artifacts import Artifact, Built, artifact, class_names, make
from qaclims_ray.compute import actor_pool, start
from qaclims_ray.config import Experiment
from qaclims_ray.evaluate.score import SCORES, Counts, Scores, count, report_scores
from qaclims_ray.progress import watch
from qaclims_ray.storage import read_json, write_json
from qaclims_ray.tables import look_up, read_table


class Scorer:
    """Ray Data actor: CAM rows in, one row of confusion counts per batch out."""

    def __init__(self, images: Artifact, thresholds: Sequence[float], num_classes: int) -> None:
        self._images = images
        self._count = partial(count, thresholds=thresholds, num_classes=num_classes)

    def __call__(self, cams: pa.Table) -> pa.Table:
        """Confusion counts of a batch; images without ground truth are left out."""
        found = look_up(self._images, cams["name"].to_pylist(), ["name", "mask"]).to_pylist()
        masks = {row["name"]: row["mask"] for row in found if row["mask"] is not None}
        rows = [row for row in cams.to_pylist() if row["name"] in masks]
        counts = self._count(rows, masks).astype(np.int64).tobytes()
        return pa.table({"counts": [counts], "num_images": [len(rows)], "num_rows": [len(cams)]})


def run(experiment: Experiment, *, baseline: bool = False, overwrite: bool = False) -> str:
    """Write `scores` (or `baseline_scores`); return the summary line."""
    prefix = "baseline_" if baseline else ""
    return make(
        experiment, f"{prefix}scores", partial(_score, experiment, f"{prefix}cams"), overwrite
    )


def run_both(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Scores of the baseline, then of QA-CLIMS; return both summary lines."""
    lines = [run(experiment, baseline=one, overwrite=overwrite) for one in (True, False)]
    return "\n".join(lines)


def has_truth(experiment: Experiment) -> bool:
    """Whether any image of the run has ground truth to score with."""
    return artifact(experiment, "images").require()["facts"]["num_masks"] > 0


def _score(experiment: Experiment, cams_name: str, target: Artifact) -> Built:
    images, cams = artifact(experiment, "images"), artifact(experiment, cams_name)
    num_cams = cams.require()["rows"]
    names = class_names(images)
    _check_names(images, cams)
    start(experiment.compute)
    counts, num_images = _sum(experiment, images, cams, num_cams, len(names))
    if num_images == 0:
        raise ValueError(f"{images.uri} holds no ground truth, so there is nothing to score with")
    result = report_scores(counts, experiment, names, num_images, scored=cams_name)
    write_json(f"{target.uri}/{SCORES}", result)
    return Built(num_images, num_cams - num_images, {"miou": result["best"]["miou"]})


def _sum(
    experiment: Experiment, images: Artifact, cams: Artifact, num_cams: int, num_classes: int
) -> tuple[Counts, int]:
    thresholds = experiment.evaluate.thresholds
    arguments = {"images": images, "thresholds": thresholds, "num_classes": num_classes}
    pool = experiment.compute.evaluate
    rows = ray.data.read_parquet(cams.shards()).repartition(
        target_num_rows_per_block=pool.block_rows
    )
    rows = rows.map_batches(
        Scorer, fn_constructor_kwargs=arguments, **actor_pool(pool, "compute.evaluate")
    )
    total = np.zeros((len(thresholds), num_classes + 1, num_classes + 1), np.int64)
    num_images = done = 0
    with watch("scores", lambda: done, num_cams):
        for row in rows.iter_rows():
            total += np.frombuffer(row["counts"], np.int64).reshape(total.shape)
            num_images += row["num_images"]
            done += row["num_rows"]
    return total, num_images


def _check_names(images: Artifact, cams: Artifact) -> None:
    known = set(read_table(images, ["name"])["name"].to_pylist())
    scored = set(read_table(cams, ["name"])["name"].to_pylist())
    if not scored <= known:
        raise ValueError(
            f"{cams.uri} has images that {images.uri} lacks, such as {min(scored - known)!r}: "
            "make the CAMs of these images anew (make_cams.py --overwrite)"
        )


def table(experiment: Experiment) -> str:
    """The scores of a run as text: baseline and QA-CLIMS, where they are complete."""
    settings, lines = "", []
    for name, label in (("baseline_scores", "baseline CAM"), ("scores", "QA-CLIMS")):
        found: Scores | None = read_json(f"{artifact(experiment, name).uri}/{SCORES}")
        if found is not None:
            best, fixed = found["best"], found["fixed"]
            lines.append(
                f"{label:<14}{100 * best['miou']:6.1f} @ {best['threshold']:.2f}"
                f"{100 * fixed['miou']:12.1f} @ {fixed['threshold']:.2f}"
                f"{100 * best['false_foreground']:12.1f}"
            )
            settings = ", ".join(
                f"{key} {value}" for key, value in found["settings"].items() if key != "scored"
            )
            settings = f"{found['num_images']} images, {settings}"
    if not lines:
        return "no scores: the images have no ground truth, or evaluate.py has not run"
    head = f"{'mIoU in %':<14}{'best @ threshold':>13}{'fixed @ threshold':>19}{'false fg.':>12}"
    return "\n".join([head, *lines, settings])
