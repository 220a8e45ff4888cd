"""CAMs of every image (artifact `cams`, or with --baseline `baseline_cams` of the classifier).

qaclims cams --config demo [--baseline | --clip] [--retry-errors]
ray job submit --working-dir . -- python jobs/make_cams.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--clip makes those of a frozen CLIP that RITC learns beside its texts (train.ritc.loss.clip_cams).
--retry-errors makes those CAMs of a complete artifact that failed, and no others.
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__, None, "--baseline", "--clip", "--retry-errors")
    baseline = "baseline_cams" if arguments.baseline else "cams"
    make(experiment, arguments, "clip_cams" if arguments.clip else baseline)
