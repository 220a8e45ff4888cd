"""Scores of label maps: seeds, pseudo masks and predictions, and those of any method."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import pyarrow as pa

from qaclims_ray.cluster.maps import actor_pool, map_actor, read_rows
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.rows import Tally, Unsure, score_label_map, unpack, unscored
from qaclims_ray.evaluate.score import report_label_maps
from qaclims_ray.evaluate.stage import finish, scored_by
from qaclims_ray.evaluate.text import text_table
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import ARTIFACTS, data_of, images_of
from qaclims_ray.run.images import check_sorted, class_names
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.scored import Masks, Scored, scored_images
from qaclims_ray.run.tables import names_of
from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.paths import absolute
from qaclims_ray.storage.sorting import RowSorter
from qaclims_ray.types import SCHEMAS, LabelMap, LabelMapRow, ScoreRow

ReadLabelMap: TypeAlias = Callable[[tuple[int, int]], LabelMap]
"""Height and width of an image to its label map; a ValueError says what is wrong with it."""


_COLUMNS = ["name", "height", "width", "labels", "mask"]


class LabelMapScorer:
    """Ray Data actor: names with ground truth in, counts of the label maps of these names out."""

    def __init__(
        self,
        readers: Mapping[str, ReadLabelMap],
        scored: Scored,
        num_classes: int,
        unsure: Unsure,
    ) -> None:
        self._readers = readers
        self._unsure: Unsure = unsure
        self._scored = scored
        self._num_classes = num_classes

    def __call__(self, images: pa.Table) -> pa.Table:
        """Counts of a batch; images that are not to be scored are left out."""
        rows = [self._score(row) for row in images.to_pylist() if self._scored.has(row)]
        return pa.Table.from_pylist(rows, schema=SCHEMAS["scores"])

    def _score(self, row: Mapping[str, Any]) -> ScoreRow:
        name = row["name"]
        try:
            label_map = self._readers[name]((row["height"], row["width"]))
            return score_label_map(name, label_map, row["mask"], self._num_classes, self._unsure)
        except ValueError as error:
            raise ValueError(f"the label map of {name!r}: {error}") from error


class RowScorer:
    """Ray Data actor: rows with label maps in, their counts out."""

    def __init__(
        self, experiment: Experiment, scored: Scored, num_classes: int, target: Artifact
    ) -> None:
        self._masks = Masks(scored)
        self._num_classes = num_classes
        self._unsure: Unsure = experiment.evaluate.unsure
        self._map = IsolatedMap(target, data_of(experiment, target.name).max_errors)

    def __call__(self, label_maps: pa.Table) -> pa.Table:
        """Count the pixels of a batch of label maps."""
        masks = self._masks.of(label_maps["name"].to_pylist())
        return self._map(label_maps.to_pylist(), partial(self._score, masks=masks))

    def _score(self, rows: Sequence[LabelMapRow], masks: Mapping[str, bytes]) -> list[ScoreRow]:
        made: list[ScoreRow] = []
        for row in rows:
            name, label_map, mask = row["name"], row["label_map"], masks.get(row["name"])
            if label_map is None or mask is None:
                made.append(unscored(name))
            else:
                drawn = decode_mask(label_map)
                made.append(score_label_map(name, drawn, mask, self._num_classes, self._unsure))
        return made


def build(experiment: Experiment, target: Artifact) -> Built:
    """Map the scorer over the label maps of an artifact."""
    scored = ARTIFACTS[scored_by(target)]
    images_name = images_of(target.name)
    images, label_maps = artifact(experiment, images_name), artifact(experiment, scored.name)
    num_rows = label_maps.require()["rows"]
    wanted = scored_images(
        experiment, of_cams=scored.supervision is not None, images_name=images_name
    )
    remedy = f"make them (qaclims {scored.job}), or list the images to score in evaluate.names"
    lacks = f"{label_maps.uri} lacks images with ground truth"
    check_sorted(wanted.names(), names_of(label_maps), lacks, remedy)
    start(experiment.compute)
    map_actor(
        experiment,
        target,
        partial(
            RowScorer,
            experiment=experiment.anchored(),
            scored=wanted,
            num_classes=len(class_names(images)),
            target=target,
        ),
        shards=label_maps.shards(),
        columns=SCHEMAS["label_maps"].names,
        expected=num_rows,
    )
    return finish(experiment, target, num_rows, wanted.num)


class SortedTallies:
    """Counts of images in the order of their names; they lie on this machine's disk."""

    def __init__(self, scores: Iterable[pa.Table]) -> None:
        self._rows = RowSorter(SCHEMAS["scores"], ["name"])
        for some in scores:
            self._rows.add(some.to_pylist())

    def __iter__(self) -> Iterator[Tally]:
        rows = (unpack(cast(ScoreRow, row)) for row in self._rows)
        return (counts for counts in rows if counts is not None)


def run_label_maps(experiment: Experiment, uri: str, readers: Mapping[str, ReadLabelMap]) -> str:
    """Score label maps of any method; return the table and where it is.

    They may be pseudo masks or predictions. What is found goes to `label_map_scores/` in the run;
    it is no artifact, as nobody knows when the files change.

    Args:
        experiment: The run, with complete images.
        uri: Where they are, for people.
        readers: By the name of each image, what reads its label map.

    Raises:
        ValueError: a label map is missing, or no fit for its ground truth.
    """
    images = artifact(experiment, "images")
    scored, classes = scored_images(experiment, of_cams=False), class_names(images)
    lacks = f"{uri} lacks label maps (NAME.png, NAME.txt, NAME.json or a COCO file)"
    remedy = "make them, empty ones of images without an object"
    check_sorted(scored.names(), sorted(readers), lacks, remedy)
    start(experiment.compute)
    rows = read_rows(images.shards()).select_columns(_COLUMNS)
    arguments = {
        "readers": readers,
        "scored": scored,
        "num_classes": len(classes),
        "unsure": experiment.evaluate.unsure,
    }
    pool = actor_pool(experiment.compute, "evaluate")
    rows = rows.map_batches(LabelMapScorer, fn_constructor_kwargs=arguments, **pool)
    tallies = SortedTallies(rows.iter_batches(batch_size=None, batch_format="pyarrow"))
    scores = report_label_maps(tallies, experiment, classes, scored=uri)
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    label = uri.rsplit("/", 1)[-1]
    to = f"{absolute(experiment.run)}/label_map_scores/{label}-{digest}.json"
    write_json(to, scores)
    return f"{text_table({label: scores})}\n\nlabel maps: {scores['num_images']:,} rows · {to}"
