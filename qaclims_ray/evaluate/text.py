"""Scores as text."""

from collections.abc import Mapping
from textwrap import wrap

from qaclims_ray.evaluate.score import Figures, Scores
from qaclims_ray.evaluate.settings import CHOSEN, NOTHING

_COLUMNS = {
    "miou": "mIoU",
    "mean_boundary_iou": "boundary IoU",
    "mean_precision": "precision",
    "mean_recall": "recall",
    "false_foreground": "false fg.",
}
USED = ("image labels", "pixel-supervised weights", CHOSEN)
"""Settings that tell what was used to make what is scored."""
_WIDTH = 100


def text_table(scores: Mapping[str, Scores]) -> str:
    """Figures with their intervals, IoU of each class, and what was scored how.

    Args:
        scores: By what the rows are called, such as `QA-CLIMS`.
    """
    heads = "".join(f"{title:>20}" for title in _COLUMNS.values())
    lines = [f"{'in %, 95 % intervals':<28}{heads}"]
    for label, one in scores.items():
        lines += [_row(f"{label}, {at}", figures) for at, figures in _figures(one)]
    for label, one in scores.items():
        at, figures = _figures(one)[0]
        lines += ["", *_classes(f"IoU of each class, {label}, {at}", one, figures)]
    settings = {_settings(one): None for one in scores.values()}
    return "\n".join([*lines, "", *(line for text in settings for line in wrap(text, _WIDTH))])


def statement(scores: Scores) -> str:
    """Say in one line what scores are of, how much they are, and what was used to make it."""
    settings, best = scores["settings"], scores["best"]
    at = f" at threshold {best['threshold']:g}" if scores["thresholds"] else ""
    facts = [f"mIoU {_percent(best['miou'])}% of {settings['scored']}{at}"]
    facts += [f"{key} {settings[key]}" for key in USED if settings.get(key, NOTHING) != NOTHING]
    if "decided" in settings:
        # A share just below 1 is not all.
        share = int(1000 * settings["decided"]) / 10
        treated = {"background": "as background", "ignore": "left out"}[settings["unsure"]]
        rest = "" if settings["decided"] == 1 else f", the others {treated}"
        facts.append(f"{share:.1f}% of pixels decided{rest}")
    if settings.get("absent classes") == "skip":
        facts.append("classes without truth skipped")
    return ", ".join(facts)


def _figures(scores: Scores) -> list[tuple[str, Figures]]:
    if not scores["thresholds"]:
        return [("label maps", scores["fixed"])]
    both = {"best": scores["best"], "fixed": scores["fixed"]}
    return [(f"{kind} @ {one['threshold']:.2f}", one) for kind, one in both.items()]


def _row(label: str, figures: Figures) -> str:
    row = f"{label:<28}"
    for name in _COLUMNS:
        low, high = map(_percent, figures["intervals"][name])
        row += f"{_percent(figures[name]):>6} {f'[{low}, {high}]':>13}"
    return row


def _classes(title: str, scores: Scores, figures: Figures) -> list[str]:
    named = zip(scores["class_names"], figures["iou"], strict=True)
    # No-break spaces keep a class and its figure on one line.
    items = (f"{name} {_percent(value)}".replace(" ", "\u00a0") for name, value in named)
    lines = wrap(f"{title}: {', '.join(items)}", _WIDTH)
    return [line.replace("\u00a0", " ") for line in lines]


def _settings(scores: Scores) -> str:
    settings = {key: value for key, value in scores["settings"].items() if key != "scored"}
    stated = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"{scores['num_images']} images, {stated}"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"
