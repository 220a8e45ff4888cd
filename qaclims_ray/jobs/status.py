"""Status: which artifacts of a run are complete, stale, unfinished, missing or damaged; makes nothing.

    qaclims status --config demo
    ray job submit --working-dir . -- python jobs/status.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

An artifact is stale if something that it is made from was made anew since, with other content.
"""

from qaclims_ray.cli import parse, say


def main() -> None:
    """Run the job."""
    experiment, _ = parse(__doc__, overwrites=False)
    from qaclims_ray.run.existing import require_run
    from qaclims_ray.run.lineage import status

    require_run(experiment)
    say(*status(experiment))
