"""CAMs of every image (artifact `cams`, or with --baseline `baseline_cams` of the classifier).

qaclims cams --config demo [--baseline] [--retry-errors]
ray job submit --working-dir . -- python jobs/make_cams.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors makes those CAMs of a complete artifact that failed, and no others.
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__, None, "--baseline", "--retry-errors")
    make(experiment, arguments, "baseline_cams" if arguments.baseline else "cams")
