"""Pseudo masks of every image (artifact `masks`), which the segmenter learns from.

qaclims masks --config demo [--retry-errors]
ray job submit --working-dir . -- python jobs/make_masks.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors makes those of a complete artifact that failed, and no others.
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    make(*parse(__doc__, None, "--retry-errors"), "masks")
