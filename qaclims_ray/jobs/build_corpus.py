"""Ask the VQA model about every image and class (artifact `corpus`). Reads `images`.

qaclims corpus --config demo [--retry-errors]
ray job submit --working-dir . -- python jobs/build_corpus.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors asks again about the images of a complete corpus that failed, and about no others.
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    make(*parse(__doc__, None, "--retry-errors"), "corpus")
