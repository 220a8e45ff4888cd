"""The texts that an image's classes and its background are called by, when CLIP makes its CAMs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from qaclims_ray.config.cams import Cams
from qaclims_ray.model.clip_words import BACKGROUND_WORDS
from qaclims_ray.types import TextPair

Names = Mapping[str, Sequence[str]]
"""More names of a class (`corpus.expected_names`)."""


class CamTexts(NamedTuple):
    """Texts that compete within one image."""

    classes: list[str]
    """Class names, in the order of the labels."""
    prompts: list[list[str]]
    """Foreground prompts of each class; none: the class name alone counts."""
    backgrounds: list[str]
    falls_back: bool
    """Whether the image lacked background texts, and has the fixed words instead."""


def choose_texts(
    labels: Sequence[int],
    pairs: Iterable[TextPair],
    class_names: Sequence[str],
    cams: Cams,
    fixed: Sequence[str],
    expected_names: Names,
) -> CamTexts:
    """Choose the texts of one image by `cams.backgrounds`.

    A background answer that names a class of the image is left out, whichever class it was given
    about. A sole text has no CAM: an image left with one falls back to the fixed words.

    Args:
        labels: Class indices of the image.
        pairs: Texts of its pairs; a class without any is called by its name.
        class_names: Names in the order of their indices.
        cams: The section.
        fixed: Background words that serve all images (`fixed_words`).
        expected_names: More names of a class.
    """
    classes = [class_names[label] for label in labels]
    told = {pair["label"]: pair for pair in pairs}
    prompts = [told[label]["foreground"] if label in told else [] for label in labels]
    answers = [text for label in labels if label in told for text in told[label]["background"]]
    present = {name for one in classes for name in (one, *expected_names.get(one, ()))}
    chosen = {
        "answers": without_names(answers, present),
        "fixed": list(fixed),
        "both": [*without_names(answers, present), *fixed],
        "none": [],
    }[cams.backgrounds]
    sole = len(classes) == 1 or (len(classes) > 1 and cams.backgrounds != "none")
    falls_back = sole and not chosen
    backgrounds = fixed if falls_back else dict.fromkeys(chosen)
    return CamTexts(classes, prompts, list(backgrounds), falls_back)


def fixed_words(cams: Cams, class_names: Sequence[str]) -> list[str]:
    """Return the fixed background words that name no class of the data.

    Raises:
        ValueError: each of them names a class.
    """
    words = without_names(cams.clip.background_words or BACKGROUND_WORDS, class_names)
    if not words:
        raise ValueError(
            "cams.clip.background_words: each of them names a class, so that nothing is left to "
            "contrast the classes with: list words for what else is in the images"
        )
    return words


def without_names(texts: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the unique texts that name none of the classes.

    "black cat" names the class "cat" and "table" the class "dining table", as whole words of either
    are in the other; "carpet" does not name the class "car".
    """
    padded = [f" {name.lower()} " for name in names]
    return [
        text
        for text in dict.fromkeys(texts)
        if not any(f" {text.lower()} " in name or name in f" {text.lower()} " for name in padded)
    ]
