"""`qaclims compare` as a script, for `ray job submit --working-dir . -- python jobs/compare.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.compare import main

if __name__ == "__main__":
    run_job(main)
