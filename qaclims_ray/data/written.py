"""How far a map is: counted from the footers of the files that it has written."""

from qaclims_ray.artifacts import Artifact
from qaclims_ray.parquet import num_values, read_footers
from qaclims_ray.work import Count, Work


class Written:
    """Counts an artifact's unfinished rows, each file once."""

    def __init__(self, target: Artifact, parts: str | None = None) -> None:
        """`parts` names a list column whose elements count too, such as `answers`."""
        self._work = Work(target, parts)
        self._parts = parts
        self._first: Count | None = None
        self._now = Count(0, 0, 0)

    def __call__(self) -> int:
        """Rows written so far, failed ones included."""
        self._now = self._work.count()
        self._first = self._first or self._now
        return self._now.rows

    def detail(self, seconds: float) -> str:
        """Parts per second since the first count, and errors."""
        errors = f"{self._now.errors} errors"
        if self._parts is None or self._first is None:
            return errors
        done = self._now.parts - self._first.parts
        return f"{done / max(seconds, 1e-9):.1f} {self._parts}/s, {errors}"


def num_elements(uris: list[str], column: str) -> int:
    """Elements of all lists in a column of Parquet files, from their footers."""
    return sum(num_values(footer, f"{column}.") for footer in read_footers(uris))
