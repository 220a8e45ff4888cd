"""Published VQA corpora (`voc_vqa_fg_blip.npy`, …) as rows of ours.

Such a file is a pickled dictionary: image name -> class name -> `vqa` (question template and
answer as generated, for each question) and `answers` (their lemmas). Unpickling runs what the
file says, so only the few harmless types of such a file are let through.
"""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from qaclims_ray.corpus.questions import ask
from qaclims_ray.types import Answer, CorpusRow, Kind

PublishedCorpus = Mapping[str, Any]
"""Image name -> class name -> `vqa` and `answers`; what lies below the names is checked on use."""

_ARRAYS = {("numpy", "ndarray"), ("numpy", "dtype")} | {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
}
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, texts and numbers, NumPy's included, and refuses all else."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _ARRAYS:
            raise ValueError(
                f"the file asks for {module_name}.{global_name}, which a corpus never holds: "
                "it is no published corpus, or it has been tampered with; it was not loaded"
            )
        return super().find_class(module_name, global_name)


def read_published(path: str | Path) -> PublishedCorpus:
    """The dictionary in a published corpus file.

    Raises:
        ValueError: the file is no such corpus, or asks for anything but plain data.
    """
    with Path(path).open("rb") as file:
        _skip_header(file, str(path))
        try:
            loaded = _PlainUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, IndexError) as error:
            raise ValueError(f"{str(path)!r} is damaged: {error}") from error
    corpus = loaded.item() if isinstance(loaded, np.ndarray) and loaded.ndim == 0 else loaded
    if not isinstance(corpus, dict):
        raise ValueError(f"{str(path)!r} holds {type(corpus).__name__}, not a dictionary of images")
    return corpus


def _skip_header(file: IO[bytes], path: str) -> None:
    try:
        version = np.lib.format.read_magic(file)
        _, _, dtype = _HEADERS[version](file)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path!r} is no .npy file: {error}") from error
    if dtype != np.dtype(object):
        raise ValueError(f"{path!r} holds an array of {dtype}, not a pickled dictionary")


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
