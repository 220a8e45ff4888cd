"""What was found of a run's texts: figures of each class, as a file, a table and advice."""

from collections.abc import Sequence

from typing_extensions import TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.storage.paths import absolute
from qaclims_ray.storage.records import read_record

FAIR = 0.6
"""Share that is asked of a CLIP that is of use; chance is 0.5."""


class ClassCheck(TypedDict):
    """Figures of one class."""

    name: str
    images: int
    known: float | None
    """Probability that a region of the class is more similar to its name than one of another class;
    null where there is none of another."""
    told: float | None
    """Share of its CAMs whose inside the texts tell from the outside; null: none has both texts."""
    apart: float | None
    """1 less the cosine similarity of the class's text and background texts, mean."""


class Found(TypedDict):
    """Content of `check_texts.json`."""

    images: int
    classes: list[ClassCheck]


def findings_uri(experiment: Experiment) -> str:
    """Return where a run keeps what was found."""
    return f"{absolute(experiment.run)}/check_texts/check_texts.json"


def found(experiment: Experiment) -> Found | None:
    """Read what was found when a run's texts were last looked at; None: they were not yet."""
    return read_record(findings_uri(experiment), Found)


def text(checks: Sequence[ClassCheck]) -> str:
    """Format the figures as a table, and advice on the classes that CLIP is of little use for."""
    lines = [f"{'class':<24}{'images':>8}{'known, %':>10}{'told, %':>10}{'apart':>8}"]
    for check in checks:
        shares = "".join(f"{_percent(check[key]):>10}" for key in ("known", "told"))
        apart = "n/a" if check["apart"] is None else f"{check['apart']:.2f}"
        lines.append(f"{check['name']:<24}{check['images']:>8}{shares}{apart:>8}")
    lines += [
        "known: a region of the class is more similar to its name than one of another class; told:",
        "texts tell the inside of a CAM from its outside; 50 % is chance in both. apart: distance",
        "of the class's text from the background texts.",
    ]
    return "\n".join([*lines, *advice(checks)])


def advice(checks: Sequence[ClassCheck]) -> list[str]:
    """Say which classes CLIP is of little use for, and what to change."""
    unknown = _below(checks, "known")
    told = [name for name in _below(checks, "told") if name not in unknown]
    lines: list[str] = []
    if unknown:
        lines.append(
            f"CLIP does not know {', '.join(unknown)} by name: rename such classes in words of the "
            "web, or choose another CLIP (model.clip, cams.clip)"
        )
    if told:
        lines.append(
            f"the texts of {', '.join(told)} do not tell object from background: look at the "
            "answers (qaclims corpus-stats), and change corpus.questions or corpus.expected_names"
        )
    return lines or ["CLIP tells all of these classes from their backgrounds more often than not"]


def _below(checks: Sequence[ClassCheck], key: str) -> list[str]:
    values: list[tuple[str, float | None]] = [(one["name"], one[key]) for one in checks]
    return [name for name, value in values if value is not None and value < FAIR]


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.0f}"
