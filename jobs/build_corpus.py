"""`qaclims corpus` as a script, for `ray job submit --working-dir . -- python jobs/build_corpus.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.build_corpus import main

if __name__ == "__main__":
    run_job(main)
