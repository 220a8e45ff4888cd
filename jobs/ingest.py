"""Ingest: images and image-level labels to Parquet shards (artifact `images`).

python jobs/ingest.py --config configs/demo.yaml
ray job submit --working-dir . -- python jobs/ingest.py --config configs/voc12.yaml run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job
from qaclims_ray.data import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    print(stage.run(experiment, overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
