"""Ask the VQA model about every image and class (artifact `corpus`). Reads `images`.

python jobs/build_corpus.py --config configs/demo.yaml [--retry-errors]
ray job submit --working-dir . -- python jobs/build_corpus.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors asks again about the images of a complete corpus that failed, and about no others.
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.corpus import stage
from qaclims_ray.preflight.check import check


def main() -> None:
    """Run the job."""
    experiment, again = parse(__doc__, None, "--retry-errors")
    tell(check(experiment, "corpus", overwrite=again.overwrite or again.retry_errors))
    print(stage.run(experiment, overwrite=again.overwrite, retry_errors=again.retry_errors))


if __name__ == "__main__":
    run_job(main)
