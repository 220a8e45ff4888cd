"""`qaclims export-segmenter` as a script, for `ray job submit --working-dir . -- python jobs/export_segmenter.py …`."""

from qaclims_ray.cli import run_job
from qaclims_ray.jobs.export_segmenter import main

if __name__ == "__main__":
    run_job(main)
