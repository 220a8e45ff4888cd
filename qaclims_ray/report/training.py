"""Draw what trainings logged: a chart for each scalar of each network."""

from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from qaclims_ray.report.charts import SMALL, binned, chart
from qaclims_ray.report.scores import style_of
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.storage.listing import find
from qaclims_ray.train.log import read_log

_TITLES = {
    "total": "Loss",
    "foreground": "Foreground contrast (FRC)",
    "background": "Background contrast (BRC)",
    "area": "Mean CAM value (REG)",
    "clip_cams": "Cross entropy with CLIP CAMs",
    "max_logit": "Largest logit",
    "grad_norm": "Norm of the gradient",
}
"""Scalars with a name of their own; others are called as in the log."""
_NOT_DRAWN = {"epoch", "step", "num_pairs", "learning_rate", "images_per_second", "data_wait"}


class Training(NamedTuple):
    """The charts of one network's training."""

    title: str
    speed: float
    """Images per second, the median of the steps."""
    charts: list[tuple[str, str, Markup]]
    """Title, first and last value, and drawing of each scalar."""


def training_of(network: Artifact) -> Training | None:
    """Draw the log of a network, as `training.html` shows it; None for one that was imported."""
    epochs = find(f"{network.uri}/metrics/epoch-*.jsonl")
    rows = [row for epoch in epochs for row in read_log(epoch)]
    if not rows:
        return None
    keys = [
        key for key in dict.fromkeys([*_TITLES, *rows[0]]) if key in rows[0].keys() - _NOT_DRAWN
    ]
    return Training(
        ARTIFACTS[network.name].title,
        float(np.median([row["images_per_second"] for row in rows])),
        [_drawing(rows, key, style_of(network.name)) for key in keys],
    )


def _drawing(rows: list[dict[str, Any]], key: str, style: str) -> tuple[str, str, Markup]:
    title = _TITLES.get(key, key.replace("_", " ").capitalize())
    steps, values = (np.array([row[one] for row in rows], float) for one in ("step", key))
    line = binned(style, steps, values)
    drawing = chart([line], title=title, x_label=f"{len(rows):,} steps", size=SMALL)
    return title, f"{line.y[0]:.3g} → {line.y[-1]:.3g}", drawing
