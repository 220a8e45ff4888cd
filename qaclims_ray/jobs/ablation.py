"""Compare variants of an experiment over seeds, tuned on one split and reported on another.

    qaclims ablation --config demo_ablation [run=…]
    ray job submit --working-dir . -- python jobs/ablation.py --config configs/demo_ablation.yaml run=/shared/demo_ablation

Complete trials are skipped. Writes table.md and table.json into the study's `run`.
"""

from qaclims_ray.cli import add_config, job_parser, say
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.config.study import load_study


def main() -> None:
    """Run the job."""
    parser = job_parser(__doc__)
    add_config(parser)
    arguments = parser.parse_intermixed_args()
    study = load_study(arguments.config, parse_overrides(arguments.overrides))
    from qaclims_ray.search.ablation import run_study

    say(run_study(study))
