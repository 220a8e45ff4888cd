"""Published files into a run, in place of its own stages, and its CAM networks back out."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.experiment import load as load_config
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.corpus.published import convert, read_published
from qaclims_ray.model.convert import convert_clip, convert_irn
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.faults import Attempt, forget_deaths
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import dataset, publish
from qaclims_ray.storage.files import atomic_open, remove
from qaclims_ray.train.published import export_net, import_net
from qaclims_ray.types import CorpusRow, ImageRow

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "corpus": (("FG.npy", "BG.npy"), "published VQA answers as the artifact corpus"),
    "classifier": (("CHECKPOINT",), "a published res50_cam.pth as the artifact classifier"),
    "cam_net": (("CHECKPOINT",), "a published res50_qa_clims.pth as the artifact cam_net"),
    "export": (("NETWORK", "CHECKPOINT"), "classifier or cam_net as the published code loads it"),
    "clip": (("CHECKPOINT", "DIRECTORY"), "OVSeg's checkpoint as a CLIP for model.clip.model"),
    "irn": (("CHECKPOINT", "FILE"), "a published boundary network in our names"),
}
"""What can be imported: its files, and what becomes of them."""


def run(options: Mapping[str, Any]) -> Iterator[str]:
    """Import or export what the options ask for, and say so line by line.

    Args:
        options: files of each of `KINDS`, None where it isn't wanted; `config`, a YAML file or
            None; `overrides`, texts `key=value`; `overwrite`.

    Raises:
        ValueError: a run is needed and there is no `config`; files that don't fit.
    """
    wanted = {kind: options[kind] for kind in KINDS if options[kind] is not None}
    for kind, convert_files in (("clip", convert_clip), ("irn", convert_irn)):
        if kind in wanted:
            yield convert_files(*wanted.pop(kind))
    if not wanted:
        return
    if options["config"] is None:
        raise ValueError(f"{sorted(wanted)} need --config FILE, the run that they belong to")
    experiment = load_config(options["config"], parse_overrides(options["overrides"]))
    for kind, files in wanted.items():
        if kind == "export":
            yield export_net(experiment, network=files[0], checkpoint=files[1])
        elif kind == "corpus":
            yield import_corpus(experiment, files, options["overwrite"])
        else:
            yield import_net(experiment, kind, files[0], options["overwrite"])


def import_corpus(experiment: Experiment, files: Sequence[str], overwrite: bool) -> str:
    """Fill the artifact `corpus` from published `*_vqa_fg_blip.npy` and `*_vqa_bg_blip.npy`.

    An image of the run that the files lack is recorded as an error.
    """
    return make(experiment, "corpus", partial(_corpus, experiment, files), overwrite)


def _corpus(experiment: Experiment, files: Sequence[str], target: Artifact) -> Built:
    images = artifact(experiment, "images")
    num_images, names = images.require()["rows"], class_names(images)
    foreground, background = (read_published(file) for file in files)

    def rows_of(rows: Sequence[ImageRow]) -> list[CorpusRow]:
        return [
            convert(foreground, background, row["name"], row["labels"] or (), names) for row in rows
        ]

    remove(f"{target.work}/rows")
    forget_deaths(target)
    attempt = Attempt(target, experiment.data.max_errors)
    for number, fragment in enumerate(dataset(images).get_fragments()):
        rows = fragment.to_table(columns=["name", "labels"]).to_pylist()
        with atomic_open(f"{target.work}/rows/{number:05d}.parquet") as file:
            pq.write_table(attempt(rows, rows_of), file)
    rows, errors = publish(
        target,
        shard_megabytes=experiment.data.shard_megabytes,
        max_errors=experiment.data.max_errors,
        expected=num_images,
    )
    return Built(rows, errors, {"imported": list(files)})
