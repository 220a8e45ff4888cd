"""Status: which artifacts of a run are complete, stale, unfinished, missing or damaged; makes nothing.

    python jobs/status.py --config configs/demo.yaml
    ray job submit --working-dir . -- python jobs/status.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

An artifact is stale if something that it is made from was made anew since, with other content.
"""

from qaclims_ray.cli import parse, run_job
from qaclims_ray.run.lineage import status


def main() -> None:
    """Run the job."""
    experiment, _ = parse(__doc__, overwrites=False)
    print(*status(experiment), sep="\n")


if __name__ == "__main__":
    run_job(main)
