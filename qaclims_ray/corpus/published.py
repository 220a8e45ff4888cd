"""Read published VQA corpora (`voc_vqa_fg_blip.npy`, …) and import them into a run.

Such a file is a pickled dictionary: image name -> class name -> `vqa` (question template and
answer as generated, for each question) and `answers` (their lemmas).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.questions import fill
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.blocks import map_here
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.images import class_names
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.publish import publish
from qaclims_ray.storage.parquet import read_parquet
from qaclims_ray.storage.pickles import read_dictionary
from qaclims_ray.types import SCHEMAS, Answer, CorpusRow, ImageRow, Kind

Converted: TypeAlias = Callable[[Sequence[ImageRow]], list[CorpusRow]]
"""Makes rows of the corpus of images."""
PublishedCorpus = Mapping[str, Any]
"""Image name -> class name -> `vqa` and `answers`; the entries are checked when they are used."""


def import_corpus(experiment: Experiment, files: Sequence[str], overwrite: bool) -> str:
    """Fill the artifact `corpus` from published files; return its summary line.

    Of the questions in the files those of `corpus.questions` are taken: the method's own 6 and 10,
    unless others are listed there. An image of the run that the files lack, or one of its answers,
    is recorded as an error.

    Args:
        experiment: The run, whose artifact `images` is complete.
        files: Paths or URLs of `*_vqa_fg_blip.npy` and `*_vqa_bg_blip.npy`.
        overwrite: Make the artifact anew.
    """
    return make(experiment, "corpus", partial(_import, experiment, files), overwrite)


def _import(experiment: Experiment, files: Sequence[str], target: Artifact) -> Built:
    names = class_names(artifact(experiment, "images"))
    foreground, background = (read_published(file) for file in files)
    templates = experiment.corpus.questions.templates

    def converted(rows: Sequence[ImageRow]) -> list[CorpusRow]:
        return [
            convert(foreground, background, row["name"], row["labels"] or (), names, templates)
            for row in rows
        ]

    return fill_corpus(experiment, target, lambda _: converted, files)


def fill_corpus(
    experiment: Experiment,
    target: Artifact,
    converter: Callable[[Sequence[str]], Converted],
    files: Sequence[str],
) -> Built:
    """Fill the artifact `corpus` from files, in this process.

    Args:
        experiment: The run, whose artifact `images` is complete.
        target: The artifact under way.
        converter: Given the names of a shard's images, which come in their order, returns what
            makes the rows of some of them; it sees their names and labels.
        files: Where the answers come from.
    """
    images, data = artifact(experiment, "images"), experiment.data
    num_images = images.require()["rows"]

    def make_actor() -> Callable[[pa.Table], pa.Table]:
        attempt = IsolatedMap(target, data.max_errors)
        return lambda rows: attempt(rows.to_pylist(), converter(rows["name"].to_pylist()))

    labels = pa.schema([SCHEMAS["images"].field(name) for name in ("name", "labels")])
    map_here((read_parquet(shard, labels) for shard in images.shards()), target, make_actor)
    rows, errors = publish(
        target,
        shard_megabytes=data.shard_megabytes,
        max_errors=data.max_errors,
        expected=num_images,
    )
    return Built(rows, errors, {"imported": list(files)})


def read_published(path: str | Path) -> PublishedCorpus:
    """Read the dictionary in a published corpus file, a path or URL.

    Raises:
        ValueError: the file is no such corpus, or asks for anything but plain data.
    """
    return read_dictionary(str(path))


def convert(
    foreground: PublishedCorpus,
    background: PublishedCorpus,
    name: str,
    labels: Iterable[int],
    class_names: Sequence[str],
    templates: Mapping[Kind, Sequence[str]],
) -> CorpusRow:
    """Collect the answers about one image, in the order of labels, foregrounds first.

    Args:
        foreground: Content of the `fg` file.
        background: Content of the `bg` file.
        name: Name of the image.
        labels: Class indices.
        class_names: Names in the order of their indices, spelled as in the files.
        templates: Questions to take, in their order; the files may hold more.

    Raises:
        ValueError: a file lacks the image, one of its classes or questions, or the entry is
            malformed.
    """
    sources: list[tuple[Kind, PublishedCorpus]] = [("fg", foreground), ("bg", background)]
    answers: list[Answer] = []
    for label in labels:
        for kind, corpus in sources:
            told = _answers_about_class(corpus, kind, name, label, class_names[label])
            for template in templates[kind]:
                if template not in told:
                    raise ValueError(
                        f"the published corpus has no answer to {template!r} about {name!r}, but "
                        f"to {', '.join(map(repr, told)) or 'nothing'}: list those to take in "
                        "corpus.questions"
                    )
                answers.append(told[template])
    return CorpusRow(name=name, answers=answers)


def _answers_about_class(
    corpus: PublishedCorpus, kind: Kind, name: str, label: int, class_name: str
) -> dict[str, Answer]:
    """Collect the answers about a class by their template."""
    try:
        entry = corpus[name][class_name]
        lemmatised = list(zip(entry["vqa"], entry["answers"], strict=True))
        return {
            str(template): Answer(
                label=label,
                kind=kind,
                question=fill([str(template)], class_name)[0],
                answer=str(answer),
                lemma=str(lemma),
            )
            for (template, answer), lemma in lemmatised
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the published {kind} corpus has no sound entry for {name!r}, class {class_name!r}: "
            f"{type(error).__name__}: {error}"
        ) from error


def answers_by_question(corpus: PublishedCorpus, name: str) -> dict[str, str]:
    """Collect the answers about all classes of an image, as generated, by question.

    Raises:
        ValueError: the entry is malformed.
    """
    try:
        return {
            question: str(answer)
            for class_name, entry in corpus[name].items()
            for template, answer in entry["vqa"]
            for question in fill([str(template)], str(class_name))
        }
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(
            f"the published corpus has no sound entry for {name!r}: {type(error).__name__}: {error}"
        ) from error
