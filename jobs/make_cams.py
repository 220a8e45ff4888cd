"""`qaclims cams` as a script, for `ray job submit --working-dir . -- python jobs/make_cams.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.make_cams import main

if __name__ == "__main__":
    run_job(main)
