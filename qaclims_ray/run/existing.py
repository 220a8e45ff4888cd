"""Whether a run is there at all, for jobs that only read one."""

import difflib

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.paths import absolute

_NUM_NAMES = 5


def require_run(experiment: Experiment) -> None:
    """Check that there is something in the run, or in a base of it; see `require_folder`."""
    if not any(find(f"{absolute(base)}/*") for base in experiment.base):
        require_folder(absolute(experiment.run))


def require_folder(run: str) -> None:
    """Check that there is something in the folder of a run.

    Raises:
        ValueError: there is not; runs of a like name beside it are named, or all where there are
            few.
    """
    if find(f"{run}/*"):
        return
    folder, _, name = run.rpartition("/")
    beside = sorted(uri.rpartition("/")[2] for uri in find(f"{folder}/*"))
    near = difflib.get_close_matches(name, beside, _NUM_NAMES) or beside[:_NUM_NAMES]
    hint = f"; beside it are {', '.join(near)}" if near else ""
    raise ValueError(
        f"run: there is nothing in {run}{hint}. Give run=, as when it was made, or start one: "
        "qaclims run"
    )
