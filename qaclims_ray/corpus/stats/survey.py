"""Survey the corpus of a run: tables for the screen, files in the run, and the export."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.stats.counts import CorpusCounts, count_answers, labels_of, of_class
from qaclims_ray.corpus.stats.export import check_export, export
from qaclims_ray.corpus.stats.figures import (
    Numbers,
    backgrounds,
    first,
    frequencies,
    numbers,
    with_class,
)
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.corpus.stats.hub import export_folder
from qaclims_ray.corpus.stats.replies import count_replies, shares
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import batches_of, dataset
from qaclims_ray.storage.csv import csv_lines
from qaclims_ray.storage.files import write_bytes, write_json
from qaclims_ray.storage.paths import absolute

FOLDER = "corpus_stats"
_ON_SCREEN = 4
"""As many words of a class or question fit on a line."""


class Frequency(TypedDict):
    """An answer (its lemma) to a question."""

    lemma: str
    count: int
    share: float


class Background(Frequency):
    """A background of a class; see `figures.backgrounds`."""

    lift: float


_Class = TypedDict("_Class", {"class": str})


class ClassFigures(_Class, Numbers):
    """Figures of one class."""

    backgrounds: list[Background]
    """The most frequent ones."""


class QuestionFigures(TypedDict):
    """The answers to one question, over all classes."""

    kind: str
    question: str
    most_frequent: list[Frequency]


class Survey(TypedDict):
    """Content of `corpus_stats.json`, beside URI and identity of the corpus and `ReplyCounts`."""

    images: int
    total: Numbers
    classes: list[ClassFigures]
    questions: list[QuestionFigures]


def run(experiment: Experiment, *, top: int = 10, export_to: str | None = None) -> str:
    """Write `<run>/corpus_stats` and, if asked for, the export; return tables and a summary line.

    The folder holds `corpus_stats.json` (`Survey`) and, complete, `answers.csv` (how often each
    answer was given to each question about each class) and `backgrounds.csv` (share and lift).

    Args:
        experiment: The run, whose corpus must be complete.
        top: Backgrounds of each class and answers to each question that the JSON file lists.
        export_to: Where to write one row per answer, if anywhere: a file, or with a slash at its
            end a folder that Hugging Face `datasets` loads.

    Raises:
        ValueError: the corpus is not complete, or the export's name ends in no known suffix.
    """
    if export_to is not None and not export_to.endswith("/"):
        check_export(export_to)
    corpus = artifact(experiment, "corpus")
    made = {"corpus": corpus.uri, "identity": corpus.require()["identity"]}
    names = class_names(artifact(experiment, "images"))
    batches = batches_of(corpus, ["answers"])
    counts = count_answers(batches, names, experiment.corpus.questions)
    replies = count_replies(batches_of(corpus, ["answers", "unanswered"]))
    found = survey(counts, names, experiment.corpus.expected_names, top)
    folder = f"{absolute(experiment.run)}/{FOLDER}"
    write_json(f"{folder}/corpus_stats.json", {**made, "replies": replies, **found})
    for name, table in {
        "answers": frequencies(counts, ["label", "kind", "question"], ["answer", "lemma"]),
        "backgrounds": backgrounds(counts),
    }.items():
        write_bytes(f"{folder}/{name}.csv", csv_lines(with_class(table, names), True))
    exported = ""
    if export_to is not None:
        num_lines = _export(experiment, corpus, names, export_to)
        exported = f" · {num_lines:,} answers in {absolute(export_to)}"
    summary = f"{found['images']:,} images, {found['total']['answers']:,} answers"
    if (missing := shares(replies)) is not None:
        summary += f", {missing}"
    return f"{on_screen(found)}\n\ncorpus_stats: {summary} · {folder}{exported}"


def _export(experiment: Experiment, corpus: Artifact, names: Sequence[str], export_to: str) -> int:
    batches, uri = dataset(corpus).to_batches(), absolute(export_to)
    if not export_to.endswith("/"):
        return export(batches, names, uri)
    versions = {key: corpus.require()["versions"][key] for key in ("qaclims_ray", "transformers")}
    made_by = {
        "data": experiment.data.kind,
        **{key: value for key, value in corpus.recipe.items() if key.startswith("corpus.")},
        "versions": versions,
    }
    return export_folder(batches, names, uri, name=experiment.name, made_by=made_by)


def survey(
    counts: CorpusCounts,
    class_names: Sequence[str],
    more_names: Mapping[str, Sequence[str]],
    top: int,
) -> Survey:
    """Compute all figures of a corpus, with the `top` answers of each class and question."""
    titled = titles(class_names)
    common = first(backgrounds(counts), ["label"], top).to_pylist()
    of_label = {
        label: [
            Background(lemma=row["lemma"], count=row["count"], share=row["share"], lift=row["lift"])
            for row in rows
        ]
        for label, rows in groupby(common, itemgetter("label"))
    }
    classes: list[ClassFigures] = [
        {
            "class": titled[label],
            **numbers(of_class(counts, label), class_names, more_names),
            "backgrounds": of_label.get(label, []),
        }
        for label in labels_of(counts)
    ]
    return Survey(
        images=counts.num_images,
        total=numbers(counts, class_names, more_names),
        classes=classes,
        questions=_questions(counts, top),
    )


def _questions(counts: CorpusCounts, top: int) -> list[QuestionFigures]:
    keys = ["kind", "question"]
    rows = first(frequencies(counts, keys, ["lemma"]), keys, top).to_pylist()
    return [
        QuestionFigures(
            kind=kind,
            question=question,
            most_frequent=[
                Frequency(lemma=row["lemma"], count=row["count"], share=row["share"])
                for row in answers
            ],
        )
        for (kind, question), answers in groupby(rows, itemgetter(*keys))
    ]


def on_screen(found: Survey) -> str:
    """Show the figures in aligned tables, the classes' and the questions'."""
    total: ClassFigures = {"class": "all", **found["total"], "backgrounds": []}
    companions = [
        [
            row["class"],
            ", ".join(
                f"{_shown(one['lemma'])} {percent(one['share'])} x{one['lift']:.1f}"
                for one in row["backgrounds"][:_ON_SCREEN]
            ),
        ]
        for row in found["classes"]
    ]
    answers = [
        [
            row["question"],
            ", ".join(
                f"{_shown(one['lemma'])} {percent(one['share'])}"
                for one in row["most_frequent"][:_ON_SCREEN]
            ),
        ]
        for row in found["questions"]
    ]
    return "\n\n".join(
        [
            aligned(
                ["class", "pairs", "answers", "different", "words", "name a kind", "no background"],
                [_figures(row) for row in (*found["classes"], total)],
            ),
            aligned(["class", "most frequent backgrounds: share of its pairs, lift"], companions),
            aligned(["question", "most frequent answers: share"], answers),
        ]
    )


def _figures(row: ClassFigures) -> list[str]:
    words = row["mean_words"]
    return [
        row["class"],
        *(f"{number:,}" for number in (row["pairs"], row["answers"], row["unique_answers"])),
        "-" if words is None else f"{words:.1f}",
        percent(row["kind_share"]),
        f"{row['empty_pairs']:,} ({percent(row['empty_share'])})",
    ]


def _shown(lemma: str) -> str:
    """The lemma on one line, and visible where it is empty."""
    return " ".join(lemma.split()) or "(empty)"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align a table: the first column and all longer text to the left, numbers to the right."""
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
    """A share as whole per cent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.0f}%"
