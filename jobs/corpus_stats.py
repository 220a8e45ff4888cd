"""`qaclims corpus-stats` as a script, for `ray job submit --working-dir . -- python jobs/corpus_stats.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.corpus_stats import main

if __name__ == "__main__":
    run_job(main)
