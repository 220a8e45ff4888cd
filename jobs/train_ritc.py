"""`qaclims train-ritc` as a script, for `ray job submit --working-dir . -- python jobs/train_ritc.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.train_ritc import main

if __name__ == "__main__":
    run_job(main)
