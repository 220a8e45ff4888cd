"""Print the resolved configuration, each key with its meaning.

python jobs/show_config.py --config configs/demo.yaml train.ritc.epochs=2
"""

from qaclims_ray.cli import describe, parse, run_job


def main() -> None:
    """Run the job."""
    experiment, _ = parse(__doc__, overwrites=False)
    print("\n".join(describe(experiment)))


if __name__ == "__main__":
    run_job(main)
