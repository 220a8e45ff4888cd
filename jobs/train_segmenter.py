"""`qaclims train-segmenter` as a script, for `ray job submit --working-dir . -- python jobs/train_segmenter.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.train_segmenter import main

if __name__ == "__main__":
    run_job(main)
