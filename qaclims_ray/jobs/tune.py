"""Search the configuration for the best CAMs: loss weights and whatever else `tune.space` names.

    qaclims tune --config tune_demo
    ray job submit --working-dir . -- python jobs/tune.py --config configs/tune_voc12.yaml data.root=/shared/VOC2012 run=/shared/tune_voc12

Complete trials are kept: the same command goes on. Writes best.yaml and the table of all trials to
<run>/search, and the report. With `tune.refine`, also chooses the thresholds of seeds and masks,
over CAMs that are there.
"""

from qaclims_ray.cli import parse, say, tell


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    from qaclims_ray.report import page as report
    from qaclims_ray.search import stage

    tell(stage.check(experiment, overwrite=arguments.overwrite))
    say(stage.run(experiment, overwrite=arguments.overwrite))
    say(report.run(experiment))
