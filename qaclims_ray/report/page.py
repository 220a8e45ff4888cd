"""Write one HTML page of a run: scores, curves, CAMs, answers, losses, times, configuration.

The page is one file without scripts that asks nothing of the network. It shows what the run has,
and names the job that makes what it lacks.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from qaclims_ray.config.experiment import Experiment, dump
from qaclims_ray.corpus.stats.counts import count_answers
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.images.decode import decode
from qaclims_ray.report.answers import Card, card
from qaclims_ray.report.corpus import corpus_summary
from qaclims_ray.report.mistakes import confusion_summary, worst_images
from qaclims_ray.report.panels import (
    choose_images,
    drawn_artifacts,
    panel_grid,
    panels_of_all,
    rows_of,
)
from qaclims_ray.report.pictures import data_uri, fit
from qaclims_ray.report.render import render
from qaclims_ray.report.scores import Ranking, Step, score_summary, steps_of
from qaclims_ray.report.search import search_summary
from qaclims_ray.report.texts import texts_summary
from qaclims_ray.report.training import training_of
from qaclims_ray.run.artifact import MASK_ERRORS, Artifact, artifact
from qaclims_ray.run.collapse import collapses
from qaclims_ray.run.contents import RANKING
from qaclims_ray.run.existing import require_run
from qaclims_ray.run.graph import ARTIFACTS, images_of, is_needed, of_kind
from qaclims_ray.run.images import NO_TRUTH
from qaclims_ray.run.lineage import states
from qaclims_ray.run.manifest import Manifest
from qaclims_ray.run.tables import batches_of, read_errors
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.storage.paths import absolute
from qaclims_ray.storage.records import read_record

_NUM_PANELS = 12
_NUM_ASKED = 6


class Run(NamedTuple):
    """The complete artifacts of a run, and why it lacks the others."""

    experiment: Experiment
    manifests: dict[str, Manifest]
    """Completion markers, in the order in which they are made."""
    missing: dict[str, str]
    """A sentence for each other artifact that the configuration makes use of."""

    @property
    def steps(self) -> list[Step]:
        """The scores of each step."""
        return steps_of(self.experiment, self.manifests)

    def artifact(self, name: str) -> Artifact:
        """Return the artifact, complete or not."""
        return artifact(self.experiment, name)


class Section(NamedTuple):
    """A part of the page."""

    title: str
    render: Callable[[Run], Markup]
    needs: tuple[str, ...] = ()
    """Artifacts without which there is nothing to show."""
    uses: tuple[str, ...] = ()
    """Artifacts that are shown where they are complete."""


def run(experiment: Experiment) -> str:
    """Write `report.html` into the run; return one line that says where it lies.

    A part whose artifacts are not complete says which job makes them.

    Raises:
        ValueError: there is no such run.
    """
    require_run(experiment)
    manifests: dict[str, Manifest] = {}
    missing: dict[str, str] = {}
    for name in filter(partial(is_needed, experiment), ARTIFACTS):
        try:
            manifests[name] = artifact(experiment, name).require()
        except ValueError as reason:
            about = manifests.get(images_of(name))
            scores = ARTIFACTS[name].kind == "scores"
            nothing = scores and about is not None and not about["facts"].get("num_masks", 1)
            missing[name] = f"{name}: {NO_TRUTH}" if nothing else str(reason)
    uri = f"{absolute(experiment.run)}/report.html"
    write_bytes(uri, page(Run(experiment, manifests, missing)).encode())
    return f"report: {len(manifests)} of {len(manifests) + len(missing)} artifacts shown · {uri}"


def page(run: Run) -> str:
    """Lay out the whole page."""
    sections: list[tuple[str, Markup, list[str]]] = []
    for section in _SECTIONS:
        has_all = run.manifests.keys() >= set(section.needs)
        body = section.render(run) if has_all else Markup()
        names = [*section.needs, *section.uses]
        absent = [run.missing[name] for name in names if name in run.missing]
        if body or absent:
            sections.append((section.title, body, absent))
    return render(
        "report.html",
        title=run.experiment.name,
        facts=_facts(run),
        warnings=_warnings(run.experiment),
        sections=sections,
    )


def _warnings(experiment: Experiment) -> list[str]:
    """Say what makes the figures of a run worth nothing."""
    bad = ("stale", "damaged", "of another")
    found = states(experiment).items()
    return [
        *collapses(experiment),
        *(f"{name}: {state}" for name, state in found if state.startswith(bad)),
    ]


def _facts(run: Run) -> list[str]:
    data = run.experiment.data
    split = getattr(data, "split", None)
    facts = [
        f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
        f"{data.kind}, split {split}" if split else data.kind,
    ]
    if "images" in run.manifests:
        images = run.manifests["images"]["facts"]
        num_images, num_pairs = images.get("num_images", 0), images.get("num_pairs", 0)
        facts.append(f"{num_images:,} images, {num_pairs:,} image-class pairs")
    revisions = sorted({manifest["revision"] for manifest in run.manifests.values()} - {""})
    facts.append(f"code {', '.join(revisions)}" if revisions else "code outside a checkout")
    return [*facts, absolute(run.experiment.run)]


def _scores(run: Run) -> Markup:
    uri = run.artifact("classifier").uri
    ranking = read_record(f"{uri}/{RANKING}", Ranking) if "classifier" in run.manifests else None
    return score_summary(run.steps, ranking)


def _answers(run: Run) -> Markup:
    names = choose_images(artifact(run.experiment, "images"), _NUM_ASKED)
    images = rows_of(run.experiment, "images", names)
    pairs = rows_of(run.experiment, "pairs", names) if "pairs" in run.manifests else {}
    texts = {(name, pair["label"]): pair for name, row in pairs.items() for pair in row["pairs"]}
    called = titles(run.artifact("images").fact("class_names"))
    cards: list[Card] = []
    for name, row in rows_of(run.experiment, "corpus", names).items():
        image = decode(images[name]["image"], max_pixels=run.experiment.data.max_pixels)
        picture = data_uri(fit(image))
        for label in sorted({answer["label"] for answer in row["answers"]}):
            answers = [answer for answer in row["answers"] if answer["label"] == label]
            cards.append(card(answers, texts.get((name, label)), called[label], picture))
    return render("answers.html", cards=cards)


def _corpus(run: Run) -> Markup:
    batches = batches_of(run.artifact("corpus"), ["answers"])
    class_names = run.artifact("images").fact("class_names")
    section = run.experiment.corpus
    tally = count_answers(batches, class_names, section.questions)
    return corpus_summary(tally, class_names, section.expected_names)


def _trainings(run: Run) -> Markup:
    networks = [run.artifact(name) for name in of_kind("network") if name in run.manifests]
    logs = [log for log in map(training_of, networks) if log is not None]
    return render("training.html", trainings=logs)


def _stages(run: Run) -> Markup:
    own = f"{absolute(run.experiment.run)}/"
    uris = {name: run.artifact(name).uri for name in run.manifests}
    return render(
        "stages.html",
        manifests=run.manifests,
        elsewhere={name: uri for name, uri in uris.items() if not uri.startswith(own)},
    )


def _errors(run: Run) -> Markup:
    tables = [name for name in run.manifests if ARTIFACTS[name].kind != "network"]
    errors = {name: read_errors(run.artifact(name)) for name in tables}
    for name in (name for name in tables if ARTIFACTS[name].kind == "images"):
        errors[f"{name}, bad masks"] = read_errors(run.artifact(name), MASK_ERRORS)
    lists = {
        name: list(zip(*(column.to_pylist() for column in found.columns), strict=True))
        for name, found in errors.items()
        if len(found)
    }
    return render("errors.html", errors=lists)


def _configuration(run: Run) -> Markup:
    versions: dict[str, set[str]] = {}
    for manifest in run.manifests.values():
        for package, version in manifest["versions"].items():
            versions.setdefault(package, set()).add(version)
    return render("configuration.html", versions=versions, configuration=dump(run.experiment))


_SECTIONS = (
    Section("Scores", _scores, uses=tuple(of_kind("scores"))),
    Section("Confusion of classes", lambda run: confusion_summary(run.experiment, run.steps)),
    Section("Worst images", lambda run: worst_images(run.experiment, run.steps)),
    Section(
        "CAMs, seeds, masks and predictions",
        lambda run: panel_grid(panels_of_all(run.experiment, _NUM_PANELS)),
        ("images",),
        tuple(name for name in drawn_artifacts() if images_of(name) == "images"),
    ),
    Section(
        "New images",
        lambda run: panel_grid(panels_of_all(run.experiment, _NUM_PANELS, "new_images")),
        ("new_images",),
        ("new_predictions",),
    ),
    Section("Questions and answers", _answers, ("images", "corpus"), ("pairs",)),
    Section("Corpus", _corpus, ("images", "corpus")),
    Section("Texts", lambda run: texts_summary(run.experiment)),
    Section("Training", _trainings, uses=tuple(of_kind("network"))),
    Section("Search", lambda run: search_summary(run.experiment)),
    Section("Time", _stages),
    Section("Rows that failed", _errors),
    Section("Configuration", _configuration),
)
