"""The statistics of a run's corpus as tables for the screen, as files, and the export."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.stats.counts import Tally, count, labels_of, of_class
from qaclims_ray.corpus.stats.export import csv_lines, export, lines_for
from qaclims_ray.corpus.stats.figures import (
    Numbers,
    backgrounds,
    first,
    frequencies,
    numbers,
    with_class,
)
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import dataset
from qaclims_ray.storage.files import write_bytes, write_json
from qaclims_ray.storage.paths import absolute

FOLDER = "corpus_stats"
_ON_SCREEN = 4
"""As many words of a class or question fit on a line."""

Rows = list[dict[str, Any]]


class Survey(TypedDict):
    """What `corpus_stats.json` holds, beside URI and identity of the corpus."""

    images: int
    total: Numbers
    classes: Rows
    """Figures of each class, and `backgrounds`: its most frequent ones with share and lift."""
    questions: Rows
    """Of each question, over all classes, the most frequent lemmas with count and share."""


def run(experiment: Experiment, *, top: int = 10, export_to: str | None = None) -> str:
    """Write `<run>/corpus_stats` and, if asked for, the export; return tables and a summary line.

    The folder holds `corpus_stats.json` (`Survey`) and, complete, `answers.csv` (how often each
    answer was given to each question about each class) and `backgrounds.csv` (share and lift).

    Args:
        experiment: The run, whose corpus must be complete.
        top: Backgrounds of each class and answers to each question that the JSON file lists.
        export_to: Where to write one line per answer, if anywhere.

    Raises:
        ValueError: the corpus is not complete, or the export's name ends in no known suffix.
    """
    lines_for(export_to or ".csv")
    corpus = artifact(experiment, "corpus")
    made = {"corpus": corpus.uri, "identity": corpus.require()["identity"]}
    names = class_names(artifact(experiment, "images"))
    tally = count(
        dataset(corpus).to_batches(columns=["answers"]), names, experiment.corpus.questions
    )
    found = survey(tally, names, experiment.corpus.expected_names, top)
    folder = f"{absolute(experiment.run)}/{FOLDER}"
    write_json(f"{folder}/corpus_stats.json", {**made, **found})
    for name, table in {
        "answers": frequencies(tally, ["label", "kind", "question"], ["answer", "lemma"]),
        "backgrounds": backgrounds(tally),
    }.items():
        write_bytes(f"{folder}/{name}.csv", csv_lines(with_class(table, names), True))
    exported = ""
    if export_to is not None:
        num_lines = export(dataset(corpus).to_batches(), names, absolute(export_to))
        exported = f" · {num_lines:,} answers in {absolute(export_to)}"
    summary = f"{found['images']:,} images, {found['total']['answers']:,} answers"
    return f"{on_screen(found)}\n\ncorpus_stats: {summary} · {folder}{exported}"


def survey(
    tally: Tally, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]], top: int
) -> Survey:
    """All figures of a corpus, with the `top` most frequent answers of each class and question."""
    titled = titles(class_names)
    common = first(backgrounds(tally), ["label"], top).to_pylist()
    named = {label: list(rows) for label, rows in groupby(common, lambda row: row.pop("label"))}
    classes = [
        {
            "class": titled[label],
            **numbers(of_class(tally, label), class_names, more_names),
            "backgrounds": named.get(label, []),
        }
        for label in labels_of(tally)
    ]
    return Survey(
        images=tally.num_images,
        total=numbers(tally, class_names, more_names),
        classes=classes,
        questions=_questions(tally, top),
    )


def _questions(tally: Tally, top: int) -> Rows:
    keys = ["kind", "question"]
    rows = first(frequencies(tally, keys, ["lemma"]), keys, top).to_pylist()
    return [
        {"kind": kind, "question": question, "most_frequent": list(answers)}
        for (kind, question), answers in groupby(
            rows, lambda row: (row.pop("kind"), row.pop("question"))
        )
    ]


def on_screen(found: Survey) -> str:
    """Aligned tables of the figures, the classes' and the questions'."""
    total = {"class": "all", "backgrounds": [], **found["total"]}
    return "\n\n".join(
        [
            aligned(
                ["class", "pairs", "answers", "different", "words", "name a kind", "no background"],
                [_figures(row) for row in (*found["classes"], total)],
            ),
            aligned(
                ["class", "most frequent backgrounds: share of its pairs, lift"],
                [[row["class"], _companions(row["backgrounds"])] for row in found["classes"]],
            ),
            aligned(
                ["question", "most frequent answers: share"],
                [[row["question"], _shares(row["most_frequent"])] for row in found["questions"]],
            ),
        ]
    )


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in columns: the first and all longer text to the left, numbers to the right."""
    table = [list(head), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    right = len(head) > 2
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def percent(share: float | None) -> str:
    """A share as whole per cent; what cannot be said is a dash."""
    return "-" if share is None else f"{100 * share:.0f}%"


def _figures(row: Mapping[str, Any]) -> list[str]:
    words = row["mean_words"]
    return [
        row["class"],
        *(f"{row[key]:,}" for key in ("pairs", "answers", "unique_answers")),
        "-" if words is None else f"{words:.1f}",
        percent(row["kind_share"]),
        f"{row['empty_pairs']:,} ({percent(row['empty_share'])})",
    ]


def _companions(rows: Rows) -> str:
    return ", ".join(
        f"{_shown(row['lemma'])} {percent(row['share'])} x{row['lift']:.1f}"
        for row in rows[:_ON_SCREEN]
    )


def _shares(rows: Rows) -> str:
    return ", ".join(f"{_shown(row['lemma'])} {percent(row['share'])}" for row in rows[:_ON_SCREEN])


def _shown(lemma: str) -> str:
    """On one line, and visible."""
    return " ".join(lemma.split()) or "(empty)"
