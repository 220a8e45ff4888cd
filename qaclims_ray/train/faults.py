"""Why a training ended, told once.

Ray Train starts workers again whatever they died of. A worker that meets what only the user can
mend, such as a loss that is not finite, notes it in a file: its next life sees the note and ends at
once, and the driver raises what was noted instead of what followed from it in other workers.
"""

from collections.abc import Mapping

from typing_extensions import TypedDict

from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.records import require_record


class DivergedError(ValueError):
    """A loss or gradient is not finite: these settings fail with this seed, whoever tries again."""


class Fault(TypedDict):
    """What a worker noted."""

    message: str
    diverged: bool


def note_fault(folder: str, rank: int, error: ValueError) -> None:
    """Note what ended a worker and would only happen again."""
    fault = Fault(message=str(error), diverged=isinstance(error, DivergedError))
    write_json(f"{folder}/{rank:05d}.json", fault)


def noted_faults(folder: str) -> list[str]:
    """Return the files of the faults that workers noted."""
    return find(f"{folder}/*.json")


def failure(folder: str, deaths: Mapping[str, Exception]) -> ValueError:
    """Make the error of a training that ended: faults that were noted, else what workers died of.

    Args:
        folder: Where faults are noted.
        deaths: Last error of each worker that died.
    """
    noted = [require_record(uri, Fault) for uri in noted_faults(folder)]
    if noted:
        kind = DivergedError if any(fault["diverged"] for fault in noted) else ValueError
        return kind("\n".join(dict.fromkeys(fault["message"] for fault in noted)))
    names = {_last_line(error): name for name, error in deaths.items()}
    lines = "\n  ".join(f"{name}: {line}" for line, name in names.items())
    return ValueError(
        "the training died more often than compute.train.max_failures allows, at last of\n  "
        f"{lines}\nMend it, and the same command goes on from the last checkpoint."
    )


def _last_line(error: Exception) -> str:
    """One line of an error, whose message may be a whole traceback."""
    lines = str(error).strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else f"{type(error).__name__}: {lines[0]}"
