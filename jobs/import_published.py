"""`qaclims import-published` as a script, for `ray job submit --working-dir . -- python jobs/import_published.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.import_published import main

if __name__ == "__main__":
    run_job(main)
