"""`qaclims texts` as a script, for `ray job submit --working-dir . -- python jobs/embed_texts.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.embed_texts import main

if __name__ == "__main__":
    run_job(main)
