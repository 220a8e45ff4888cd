"""Published VQA corpora (`voc_vqa_fg_blip.npy`, …) as rows of ours.

Such a file is a pickled dictionary: image name -> class name -> `vqa` (question template and
answer as generated, for each question) and `answers` (their lemmas).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qaclims_ray.corpus.questions import ask
from qaclims_ray.storage.pickles import read_dictionary
from qaclims_ray.types import Answer, CorpusRow, Kind

PublishedCorpus = Mapping[str, Any]
"""Image name -> class name -> `vqa` and `answers`; what lies below the names is checked on use."""


def read_published(path: str | Path) -> PublishedCorpus:
    """The dictionary in a published corpus file, a path or URL.

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
) -> CorpusRow:
    """The answers about one image, in the order of labels, and of each first the foreground's.

    Args:
        foreground: of the `fg` file.
        background: of the `bg` file.
        name: of the image.
        labels: class indices.
        class_names: names in the order of their indices, spelled as in the files.

    Raises:
        ValueError: a file lacks the image or one of its classes, or the entry is malformed.
    """
    sources: list[tuple[Kind, PublishedCorpus]] = [("fg", foreground), ("bg", background)]
    answers: list[Answer] = []
    for label in labels:
        for kind, corpus in sources:
            answers += _answers(corpus, kind, name, label, class_names[label])
    return CorpusRow(name=name, answers=answers)


def told(corpus: PublishedCorpus, name: str) -> dict[str, str]:
    """The questions about all classes of an image, and their answers as generated.

    Raises:
        ValueError: the entry is malformed.
    """
    try:
        return {
            question: str(answer)
            for class_name, entry in corpus[name].items()
            for template, answer in entry["vqa"]
            for question in ask([str(template)], str(class_name))
        }
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(
            f"the published corpus has no sound entry for {name!r}: {type(error).__name__}: {error}"
        ) from error


def _answers(
    corpus: PublishedCorpus, kind: Kind, name: str, label: int, class_name: str
) -> list[Answer]:
    try:
        entry = corpus[name][class_name]
        told = list(zip(entry["vqa"], entry["answers"], strict=True))
        return [
            Answer(label=label, kind=kind, question=question, answer=str(answer), lemma=str(lemma))
            for (template, answer), lemma in told
            for question in ask([str(template)], class_name)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the published {kind} corpus has no sound entry for {name!r}, class {class_name!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
