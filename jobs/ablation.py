"""`qaclims ablation` as a script, for `ray job submit --working-dir . -- python jobs/ablation.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.ablation import main

if __name__ == "__main__":
    run_job(main)
