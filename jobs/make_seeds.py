"""`qaclims seeds` as a script, for `ray job submit --working-dir . -- python jobs/make_seeds.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.make_seeds import main

if __name__ == "__main__":
    run_job(main)
