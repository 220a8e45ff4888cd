"""Ask the VQA model about every image and class (artifact `corpus`). Reads `images`.

python jobs/build_corpus.py --config configs/demo.yaml
ray job submit --working-dir . -- python jobs/build_corpus.py --config configs/voc12.yaml run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job
from qaclims_ray.corpus import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    print(stage.run(experiment, overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
