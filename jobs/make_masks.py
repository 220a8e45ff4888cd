"""`qaclims masks` as a script, for `ray job submit --working-dir . -- python jobs/make_masks.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.make_masks import main

if __name__ == "__main__":
    run_job(main)
