"""One HTML page of a run: scores, curves, CAMs, answers, losses, times, configuration.

The page is one file without scripts that asks nothing of the network. It shows what the run has,
and says of what it has not which job makes it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple

import numpy as np

from qaclims_ray.config.experiment import Experiment, dump
from qaclims_ray.corpus.stats.counts import count
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.evaluate.score import SCORES, Scores
from qaclims_ray.report.answers import pair_card
from qaclims_ray.report.corpus import corpus_summary
from qaclims_ray.report.pictures import choose_images, data_uri, panels, picture_grid, thumbnails
from qaclims_ray.report.scores import (
    STYLES,
    class_bars,
    legend,
    loss_charts,
    score_table,
    threshold_chart,
    training_log,
)
from qaclims_ray.report.search import search_summary
from qaclims_ray.report.stages import error_list, failed_rows, stage_table, total_seconds, versions
from qaclims_ray.run.artifact import Artifact, Manifest, artifact
from qaclims_ray.run.graph import RECIPES
from qaclims_ray.run.tables import dataset, look_up
from qaclims_ray.storage.files import read_json, write_bytes
from qaclims_ray.storage.paths import absolute
from qaclims_ray.types import TextPair

_NUM_PANELS = 12
_NUM_ASKED = 6
_ERRORS_SHOWN = 20


class Run(NamedTuple):
    """What a run has, and why it lacks the rest."""

    experiment: Experiment
    manifests: dict[str, Manifest]
    """Of the complete artifacts, in the order in which they are made."""
    missing: dict[str, str]
    """For each other artifact a sentence."""

    def artifact(self, name: str) -> Artifact:
        """The artifact, complete or not."""
        return artifact(self.experiment, name)


class Section(NamedTuple):
    """A part of the page."""

    title: str
    render: Callable[[Run], str]
    needs: tuple[str, ...] = ()
    """Artifacts without which there is nothing to show."""
    uses: tuple[str, ...] = ()
    """Artifacts that are shown where they are there."""


def run(experiment: Experiment) -> str:
    """Write `report.html` into the run; return one line that says where it lies.

    A part whose artifacts are not complete says which job makes them.
    """
    found = _look(experiment)
    uri = f"{absolute(experiment.run)}/report.html"
    write_bytes(uri, page(found).encode())
    return f"report: {len(found.manifests)} of {len(RECIPES)} artifacts shown · {uri}"


def page(run: Run) -> str:
    """The whole page."""
    html = files("qaclims_ray.report").joinpath("page.html").read_text(encoding="utf-8")
    template = Template(html)
    body = _header(run) + "".join(_section(run, section) for section in _SECTIONS)
    return template.substitute(title=escape(run.experiment.name), body=body)


def _look(experiment: Experiment) -> Run:
    found = {name: _require(artifact(experiment, name)) for name in RECIPES}
    return Run(
        experiment,
        {name: manifest for name, manifest in found.items() if not isinstance(manifest, str)},
        {name: reason for name, reason in found.items() if isinstance(reason, str)},
    )


def _require(target: Artifact) -> Manifest | str:
    """What the artifact's completion marker says, or why it cannot be used."""
    try:
        return target.require()
    except ValueError as reason:
        return str(reason)


def _section(run: Run, section: Section) -> str:
    body = "" if run.missing.keys() & set(section.needs) else section.render(run)
    absent = "".join(
        f'<p class="absent">{escape(run.missing[name])}.</p>'
        for name in (*section.needs, *section.uses)
        if name in run.missing
    )
    if not body and not absent:
        return ""
    return f"<section><h2>{section.title}</h2>{body}{absent}</section>"


def _header(run: Run) -> str:
    data = run.experiment.data
    split = getattr(data, "split", None)
    facts = run.manifests["images"]["facts"] if "images" in run.manifests else None
    revisions = sorted({manifest["revision"] for manifest in run.manifests.values()} - {""})
    parts = [
        f"{datetime.now(timezone.utc):%d %B %Y, %H:%M} UTC",
        f"{data.kind}, split {split}" if split else data.kind,
        f"{facts['num_images']:,} images, {facts['num_pairs']:,} image-class pairs"
        if facts
        else "",
        f"code {', '.join(revisions)}" if revisions else "code outside a checkout",
        absolute(run.experiment.run),
    ]
    meta = " · ".join(f"<span>{escape(part)}</span>" for part in parts if part)
    return (
        f'<header><h1>{escape(run.experiment.name)}</h1><p class="meta">{meta}</p>'
        '<p class="lead">Class activation maps (CAMs) learnt from image-level labels: QA-CLIMS, '
        "which contrasts regions with what a VQA model says about each image, beside the "
        "classifier that it starts from.</p></header>"
    )


def _scores(run: Run) -> str:
    scores: dict[str, Scores] = {
        style: read_json(f"{run.artifact(name).uri}/{SCORES}")
        for name, style in STYLES.items()
        if name in run.manifests
    }
    if not scores:
        return ""
    return (
        f'{score_table(scores)}{legend(list(scores))}<div class="two">'
        f"<figure><h3>mIoU over the threshold</h3>{threshold_chart(scores)}<figcaption>"
        "<small>mIoU in %; dotted: the fixed threshold.</small></figcaption></figure>"
        f"<div><h3>IoU of each class</h3>{class_bars(scores)}"
        "<small>In %, each at its own best threshold.</small></div></div>"
    )


def _pictures(run: Run) -> str:
    return picture_grid(panels(run.experiment, _NUM_PANELS))


def _answers(run: Run) -> str:
    names = choose_images(run.experiment, _NUM_ASKED)
    pictures = thumbnails(run.experiment, names)
    called = titles(run.manifests["images"]["facts"]["class_names"])
    texts = _texts(run, names)
    cards: list[str] = []
    for row in look_up(run.artifact("corpus"), names, ["name", "answers"]).to_pylist():
        for label in sorted({answer["label"] for answer in row["answers"]}):
            answers = [answer for answer in row["answers"] if answer["label"] == label]
            cards.append(
                pair_card(
                    answers,
                    texts.get((row["name"], label)),
                    called[label],
                    data_uri(pictures[row["name"]]),
                    opened=not cards,
                )
            )
    return "".join(cards)


def _texts(run: Run, names: Sequence[str]) -> dict[tuple[str, int], TextPair]:
    if "pairs" not in run.manifests:
        return {}
    rows = look_up(run.artifact("pairs"), names, ["name", "pairs"]).to_pylist()
    return {(row["name"], pair["label"]): pair for row in rows for pair in row["pairs"]}


def _corpus(run: Run) -> str:
    batches = dataset(run.artifact("corpus")).to_batches(columns=["answers"])
    class_names = run.manifests["images"]["facts"]["class_names"]
    section = run.experiment.corpus
    tally = count(batches, class_names, section.questions)
    return corpus_summary(tally, class_names, section.expected_names)


def _losses(run: Run) -> str:
    parts: list[str] = []
    for name, style in {"classifier": "baseline", "cam_net": "ours"}.items():
        if name in run.manifests:
            rows = training_log(run.artifact(name))
            if not rows:  # imported
                continue
            speed = float(np.median([row["images_per_second"] for row in rows]))
            title = {"baseline": "Classifier, the baseline", "ours": "QA-CLIMS"}[style]
            parts.append(
                f"<h3>{title} <small>median {speed:,.1f} images/s</small></h3>"
                f"{loss_charts(rows, style)}"
            )
    return "".join(parts)


def _search(run: Run) -> str:
    return search_summary(run.experiment)


def _stages(run: Run) -> str:
    uris = {name: run.artifact(name).uri for name in run.manifests}
    own = absolute(run.experiment.run)
    return stage_table(run.manifests, uris, own) + total_seconds(run.manifests)


def _errors(run: Run) -> str:
    lists = [
        error_list(name, errors, _ERRORS_SHOWN)
        for name in run.manifests
        if (errors := failed_rows(run.artifact(name)))
    ]
    return "".join(lists) or '<p class="lead">No row failed.</p>'


def _configuration(run: Run) -> str:
    return (
        f"{versions(run.manifests)}<details><summary>Every value of this run, defaults included"
        f"</summary><pre>{escape(dump(run.experiment))}</pre></details>"
    )


_SECTIONS = (
    Section("Scores", _scores, uses=("baseline_scores", "scores")),
    Section("Class activation maps", _pictures, needs=("images",), uses=("baseline_cams", "cams")),
    Section("Questions and answers", _answers, needs=("images", "corpus"), uses=("pairs",)),
    Section("Corpus", _corpus, needs=("images", "corpus")),
    Section("Training", _losses, uses=("classifier", "cam_net")),
    Section("Search", _search),
    Section("Time", _stages),
    Section("Rows that failed", _errors),
    Section("Configuration", _configuration),
)
