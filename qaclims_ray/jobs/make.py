"""What the jobs that make artifacts do: check all, then make one after the other."""

from argparse import Namespace
from importlib import import_module

from qaclims_ray.cli import say, tell
from qaclims_ray.config.experiment import Experiment


def make(experiment: Experiment, arguments: Namespace, *names: str) -> None:
    """Check what would end the run, then make artifacts by their stages and print their lines.

    Args:
        experiment: The run.
        arguments: Of the job, which may have `overwrite` and `retry_errors`.
        names: Of the artifacts, in the order in which they are made.
    """
    from qaclims_ray.preflight.check import check
    from qaclims_ray.run.graph import ARTIFACTS

    options = vars(arguments)
    again = {key: options[key] for key in ("overwrite", "retry_errors") if key in options}
    tell(check(experiment, *names, overwrite=any(again.values())))
    for name in names:
        stage = import_module(f"qaclims_ray.{ARTIFACTS[name].stage}")
        say(stage.run(experiment, name, **again))
