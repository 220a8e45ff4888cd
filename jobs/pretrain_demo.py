"""`qaclims pretrain-demo` as a script, for `ray job submit --working-dir . -- python jobs/pretrain_demo.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.pretrain_demo import main

if __name__ == "__main__":
    run_job(main)
