"""Train the CAM network by region image-text contrast (artifact `cam_net`).

Reads `images`, `pairs`, `texts`, `classifier`. Interrupted, the same command goes on from the last
checkpoint.

    qaclims train-ritc --config demo
    qaclims train-ritc --config demo train.ritc.validate_every=1 compute.train.tensorboard=true
    ray job submit --working-dir . -- python jobs/train_ritc.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    make(*parse(__doc__), "cam_net")
