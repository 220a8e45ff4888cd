"""Ingest: images and image-level labels to Parquet shards (artifact `images`).

qaclims ingest --config demo [--retry-errors]
ray job submit --working-dir . -- python jobs/ingest.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors loads those images that failed in a complete artifact, and no others.
"""

from qaclims_ray.cli import parse, say, tell


def main() -> None:
    """Run the job."""
    experiment, again = parse(__doc__, None, "--retry-errors")
    from qaclims_ray.ingest import stage
    from qaclims_ray.ingest.facts import describe, read_facts
    from qaclims_ray.preflight.check import check
    from qaclims_ray.run.artifact import artifact

    tell(check(experiment, "images", overwrite=again.overwrite or again.retry_errors))
    line = stage.run(experiment, overwrite=again.overwrite, retry_errors=again.retry_errors)
    say(describe(read_facts(artifact(experiment, "images"))), line)
