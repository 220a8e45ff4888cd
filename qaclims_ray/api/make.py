"""Make artifacts as the command line does."""

from importlib import import_module

from qaclims_ray.api.names import check_name
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.preflight.check import check
from qaclims_ray.run.graph import ARTIFACTS


def make(experiment: Experiment, *names: str, overwrite: bool = False) -> list[str]:
    """Make artifacts of a run; complete ones are left, interrupted ones go on.

    Args:
        experiment: The run.
        names: Of the artifacts, such as `images`, in the order in which they are made.
        overwrite: Make them anew.

    Returns:
        The summary line of each.

    Raises:
        ValueError: there is no such artifact; all that would keep one from being made; or too many
            rows failed.
    """
    for name in names:
        check_name(name, ARTIFACTS, "artifact")
    check(experiment, *names, overwrite=overwrite)
    stages = {name: import_module(f"qaclims_ray.{ARTIFACTS[name].stage}") for name in names}
    return [stage.run(experiment, name, overwrite=overwrite) for name, stage in stages.items()]
