"""Compare variants of an experiment over seeds, tuned on one split and reported on another.

    python jobs/ablation.py --config configs/demo_ablation.yaml [run=…]
    ray job submit --working-dir . -- python jobs/ablation.py --config configs/demo_ablation.yaml run=/shared/demo_ablation

Complete trials are skipped. Writes table.md and table.json into the study's `run`.
"""

import argparse

from qaclims_ray.cli import run_job
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.search.ablation import load_study, run_study


def main() -> None:
    """Run the job."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="a study of configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the study's keys")
    arguments = parser.parse_args()
    print(run_study(load_study(arguments.config, parse_overrides(arguments.overrides))))


if __name__ == "__main__":
    run_job(main)
