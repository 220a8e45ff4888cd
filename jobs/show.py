"""`qaclims show` as a script, for `ray job submit --working-dir . -- python jobs/show.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.show import main

if __name__ == "__main__":
    run_job(main)
