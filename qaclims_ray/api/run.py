"""A run opened to be read: pandas, pyarrow and NumPy out.

run = Run("runs/demo")
run.scores()                         # pandas: mIoU and more of each step
run.cams("train_000001")["cat"]      # NumPy: float32, H x W
label_maps = run.predict(["a.jpg"])  # NumPy: uint8, H x W
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
from jaxtyping import Float

from qaclims_ray.api.names import check_name
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.stats.export import answer_tables
from qaclims_ray.evaluate.score import Figures, Scores, read_scores
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode, decode_mask
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.graph import ARTIFACTS, inputs_of, of_kind, schema_of, title_of
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lineage import check_lineage, states
from qaclims_ray.run.recorded import recorded
from qaclims_ray.run.tables import NameIndex, dataset, look_up, read_table
from qaclims_ray.types import CamRow, Image, ImageRow, LabelMap, LabelMapRow

Maps = dict[str, Float[np.ndarray, "H W"]]
"""The CAM in [0, 1] of each class of an image, by the name of the class."""
Picture = np.ndarray | str | Path
"""RGB pixels (uint8, H x W x 3), or path or URL of an image file."""

_CORPUS = ("name", "answers")
_MEANS = ("miou", "mean_boundary_iou", "mean_precision", "mean_recall", "false_foreground")
_OF_CLASSES = ("iou", "boundary_iou", "precision", "recall", "false_positives", "false_negatives")


class Run:
    """A run opened to be read; nothing of it is changed.

    Each method that reads an artifact raises a ValueError where it is not complete (which command
    makes it), stale, damaged or of another configuration. It looks once for each artifact: open the
    run anew where a job has written since.
    """

    def __init__(self, run: str | Path | Experiment) -> None:
        """Open a run.

        Args:
            run: Its folder or URL, whose `config.yaml` says how it was made; or a configuration.

        Raises:
            ValueError: there is no such run; those of a like name are listed.
        """
        self.experiment = run if isinstance(run, Experiment) else recorded(str(run))
        self._indices: dict[str, NameIndex] = {}
        self._segmenter: Callable[[Sequence[Picture]], list[LabelMap]] | None = None

    def __repr__(self) -> str:
        return f"Run({self.experiment.run!r})"

    def status(self) -> dict[str, str]:
        """Say of each artifact whether it is complete, stale, damaged, unfinished or missing."""
        return states(self.experiment)

    def dataset(self, name: str) -> pads.Dataset:
        """Open the table of an artifact, lazily; `qaclims_ray.types` lists its columns.

        Args:
            name: Of an artifact that is no network, such as `corpus`.
        """
        tables = [one for one, spec in ARTIFACTS.items() if spec.kind != "network"]
        check_name(name, tables, "table")
        return dataset(self._complete(name))

    def names(self) -> list[str]:
        """Return the names of all images, sorted."""
        return read_table(self._complete("images"), ["name"])["name"].to_pylist()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their indices, without the background."""
        return class_names(self._complete("images"))

    def image(self, name: str) -> Image:
        """Return the pixels of an image as networks see it, reduced to `data.max_side`."""
        row: ImageRow = self._row("images", name)
        return decode(row["image"], max_pixels=self.experiment.data.max_pixels)

    def ground_truth(self, name: str) -> LabelMap | None:
        """Return the ground truth of an image; None where it has none."""
        mask = cast(ImageRow, self._row("images", name))["mask"]
        return None if mask is None else decode_mask(mask)

    def labels(self, name: str) -> list[str] | None:
        """Return the class names of an image; None where nobody knows them."""
        labels = cast(ImageRow, self._row("images", name))["labels"]
        return None if labels is None else [self.class_names[label] for label in labels]

    def answers(
        self, columns: Sequence[str] | None = None, names: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the answers of the VQA model, one row each.

        Args:
            columns: Some of `name`, `class`, `kind`, `question`, `answer`, `lemma`; what is not
                asked for takes no memory. None takes all.
            names: Images to read; None reads all.
        """
        corpus = self._complete("corpus")
        rows = dataset(corpus) if names is None else look_up(corpus, names, _CORPUS)
        tables = answer_tables(rows.to_batches(), self.class_names)
        return pa.concat_tables(one.select(list(columns or one.column_names)) for one in tables)

    def cams(self, name: str, of: str = "cams") -> Maps:
        """Return the CAMs of an image at its size.

        Args:
            name: Of the image.
            of: `cams`, `baseline_cams` or `clip_cams`.
        """
        check_name(of, of_kind("cams"), "artifact of CAMs")
        row: CamRow = self._row(of, name)
        return {
            self.class_names[label]: cam
            for label, cam in zip(row["classes"], full_size(row), strict=True)
        }

    def label_map(self, name: str, of: str) -> LabelMap | None:
        """Return a label map: 0 for the background, class index + 1, or 255 (undecided).

        Args:
            name: Of the image.
            of: `seeds`, `masks`, `predictions` or `new_predictions`.

        Returns:
            None where nobody knows the labels that it would be made with.
        """
        check_name(of, of_kind("label_maps"), "artifact of label maps")
        return row_label_map(cast(LabelMapRow, self._row(of, name)))

    def seeds(self, name: str) -> LabelMap | None:
        """Return the seeds of an image; see `label_map`."""
        return self.label_map(name, "seeds")

    def masks(self, name: str) -> LabelMap | None:
        """Return the pseudo mask of an image; see `label_map`."""
        return self.label_map(name, "masks")

    def predictions(self, name: str) -> LabelMap | None:
        """Return what the segmenter predicted for an image; see `label_map`."""
        return self.label_map(name, "predictions")

    def scores(self) -> pd.DataFrame:
        """Return the scores of each step: shares in [0, 1] with bounds of 95 % intervals.

        CAMs have two rows, at their best threshold and at the fixed one.
        """
        return pd.DataFrame(
            {
                "artifact": ARTIFACTS[name].of,
                "title": title_of(self.experiment, name),
                "at": at,
                "threshold": figures["threshold"] if scores["thresholds"] else np.nan,
                **_with_bounds(figures),
                "num_images": scores["num_images"],
            }
            for name, scores in self._all_scores().items()
            for at, figures in _rows(scores)
        )

    def class_scores(self) -> pd.DataFrame:
        """Return IoU and more of each class at the best threshold; the background is one."""
        return pd.DataFrame(
            {
                "artifact": ARTIFACTS[name].of,
                "class": title,
                **{key: scores["best"][key][index] for key in _OF_CLASSES},
            }
            for name, scores in self._all_scores().items()
            for index, title in enumerate(scores["class_names"])
        )

    def predict(self, images: Sequence[Picture]) -> list[LabelMap]:
        """Predict label maps of any images by the run's segmenter, in this process.

        Args:
            images: Pixels, paths or URLs.

        Returns:
            Label maps of the images' sizes; no pixel is undecided.
        """
        from qaclims_ray.api.predict import LabelMapPredictor  # imports torch

        if self._segmenter is None:
            self._segmenter = LabelMapPredictor(self.experiment, self._complete("segmenter"))
        return self._segmenter(images)

    def predict_cams(
        self, images: Sequence[Picture], labels: Sequence[Sequence[str]], of: str = "cams"
    ) -> list[Maps]:
        """Predict the CAMs of any images by a trained network of the run, in this process.

        Args:
            images: Pixels, paths or URLs.
            labels: Names of the classes that each image shows.
            of: `cams` of QA-CLIMS, or `baseline_cams` of the classifier.

        Raises:
            ValueError: a frozen CLIP makes these CAMs, or a label is no class.
        """
        from qaclims_ray.api.predict import predict_cams  # imports torch

        check_name(of, ("cams", "baseline_cams"), "artifact of CAMs by a network")
        if "cam_texts" in inputs_of(self.experiment, of):
            raise ValueError(
                f"{of} are made by a frozen CLIP from the texts of each image (cams.kind: clip), "
                "which other images lack: `predict` takes any image"
            )
        self._complete(cast(str, ARTIFACTS[of].of))
        return predict_cams(self.experiment, of, images, labels)

    def _all_scores(self) -> dict[str, Scores]:
        """Read the scores that are complete; stale ones are left out, as in the report's table."""
        found = states(self.experiment)
        return {
            name: read_scores(artifact(self.experiment, name))
            for name in of_kind("scores")
            if found.get(name, "").startswith("complete")
        }

    def _complete(self, name: str) -> Artifact:
        """Return an artifact that is complete, sound and not stale."""
        check_lineage(self.experiment, name)
        found = artifact(self.experiment, name)
        found.require()
        return found

    def _row(self, artifact_name: str, name: str) -> Any:
        """Return the row of an artifact about an image."""
        if artifact_name not in self._indices:
            self._indices[artifact_name] = NameIndex(self._complete(artifact_name))
        columns = schema_of(artifact_name).names
        rows = self._indices[artifact_name].look_up([name], columns).to_pylist()
        if not rows:
            there = read_table(artifact(self.experiment, artifact_name), ["name"])["name"]
            check_name(name, there.to_pylist(), f"image in {artifact_name}")
        return rows[0]


def _rows(scores: Scores) -> list[tuple[str, Figures]]:
    if not scores["thresholds"]:
        return [("all", scores["best"])]
    return [("best", scores["best"]), ("fixed", scores["fixed"])]


def _with_bounds(figures: Figures) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for key in _MEANS:
        low, high = figures["intervals"][key]
        found |= {key: figures[key], f"{key}_low": low, f"{key}_high": high}
    return found
