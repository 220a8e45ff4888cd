"""The books of a corpus: every question was answered, or lost with an image that failed."""

from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.questions import templates_of


class Account(TypedDict):
    """Counts over all images."""

    questions: int
    """That the images' labels ask for."""
    answers: int
    lost: int
    """Questions about images that failed."""


def num_templates(questions: Questions) -> int:
    """Questions about each pair (image, class), or about each image."""
    return sum(map(len, templates_of(questions).values()))


def account(
    images: pa.Table, failed: pa.ChunkedArray, num_answers: int, templates: Questions
) -> Account:
    """Balance the books.

    Args:
        images: Columns name and labels.
        failed: Names of those that failed.
        num_answers: About all others.
        templates: Asked about each pair, or about each image.

    Raises:
        AssertionError: they don't balance: pairs x questions = answers + lost.
    """
    pairs = pc.call_function("list_value_length", [images["labels"]]).fill_null(0).to_numpy()
    units = pairs if templates.about == "class" else pairs * 0 + 1
    lost = pc.call_function("is_in", [images["name"]], pc.SetLookupOptions(failed)).to_numpy()
    questions = int(units.sum()) * num_templates(templates)
    num_lost = int(units[lost].sum()) * num_templates(templates)
    assert questions == num_answers + num_lost, (
        f"{questions} questions, but {num_answers} answers and {num_lost} lost: a fault of ours"
    )
    return Account(questions=questions, answers=num_answers, lost=num_lost)
