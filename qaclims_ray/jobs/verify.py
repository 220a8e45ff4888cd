"""Verify that the files of a run's complete artifacts are, byte for byte, what was written.

    qaclims verify --config demo
    ray job submit --working-dir . -- python jobs/verify.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

Each job compares names and sizes anyway; this one reads all files. Those of earlier versions, which
noted no digests, are named. Needs no Ray.
"""

from qaclims_ray.cli import parse, say


def main() -> None:
    """Run the job."""
    experiment, _ = parse(__doc__, overwrites=False)
    from qaclims_ray.run.existing import require_run
    from qaclims_ray.run.make import verify

    require_run(experiment)
    say(*verify(experiment))
