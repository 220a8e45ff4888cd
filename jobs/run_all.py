"""`qaclims run` as a script, for `ray job submit --working-dir . -- python jobs/run_all.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.run_all import main

if __name__ == "__main__":
    run_job(main)
