"""Make the weights of the demo's tiny models; about 36 minutes on one CPU core.

python jobs/pretrain_demo.py --out qaclims_ray/demo/weights
"""

import argparse
import logging
from pathlib import Path

from qaclims_ray.demo.pretrain.recipes import RECIPES, pretrain

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0, help="of images, weights and batches")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="0.01 for a quick look")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pretrain(args.out, models=args.models, seed=args.seed, steps_scale=args.steps_scale)
