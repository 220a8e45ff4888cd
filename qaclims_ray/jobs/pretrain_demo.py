"""Make the weights of the demo's tiny models; about 36 minutes on one CPU core.

qaclims pretrain-demo --out qaclims_ray/demo/weights
"""

import logging
from pathlib import Path

from qaclims_ray.cli import job_parser
from qaclims_ray.demo.pretrain import MODELS


def main() -> None:
    """Run the job."""
    parser = job_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    names = ", ".join(MODELS)
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", choices=MODELS, default=MODELS, help=f"of {names}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of images, weights and batches")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="0.01 for a quick look")
    arguments = parser.parse_args()
    from qaclims_ray.demo.pretrain.recipes import pretrain

    logging.getLogger("qaclims_ray").setLevel(logging.INFO)
    pretrain(**vars(arguments))
