"""Prometheus metrics of stages, which Ray exports on every node; `configs/grafana.json` draws them.

Rate of `qaclims_rows`: rows per second. `qaclims_row_errors`: rows that failed, with a reason in
the artifact's `_errors`. `qaclims_rows_waiting`: rows of the stage that are still to be done.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from ray.util.metrics import Counter, Gauge

ROWS, ERRORS, WAITING = "qaclims_rows", "qaclims_row_errors", "qaclims_rows_waiting"
_TAGS = ("stage",)


def measured(actor: Callable[..., Any], stage: str) -> type:
    """Wrap an actor of a map in one that counts its rows, named after its stage.

    Args:
        actor: Class whose instances turn a table into another, with `error` where rows failed.
        stage: Artifact under way; Ray's dashboard shows `<stage>:<actor>`.
    """
    return type(f"{stage}:{actor.__name__}", (_Measured,), {"actor": actor, "stage": stage})


class _Measured:
    """Ray Data actor: another one, whose rows it counts."""

    actor: type
    stage: str

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._inner = self.actor(*arguments, **named)
        self._rows = Counter(ROWS, "Rows done, failed ones among them.", _TAGS)
        self._errors = Counter(ERRORS, "Rows that failed.", _TAGS)
        for one in (self._rows, self._errors):
            one.set_default_tags({"stage": self.stage})

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Let the other one work."""
        made = self._inner(rows)
        self._rows.inc(len(made))
        num_errors = len(made) - made["error"].null_count if "error" in made.column_names else 0
        if num_errors:  # Ray takes positive numbers only
            self._errors.inc(num_errors)
        return made


def waiting(stage: str, count: Callable[[], int], total: int) -> Callable[[], int]:
    """Return a count of rows done that also sets how many are waiting, each time it is asked."""
    gauge = Gauge(WAITING, "Rows of the stage that are still to be done.", _TAGS)
    gauge.set_default_tags({"stage": stage})

    def counted() -> int:
        """Count, and tell."""
        done = count()
        gauge.set(total - done)
        return done

    return counted
