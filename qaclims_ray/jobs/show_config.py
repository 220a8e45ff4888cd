"""Print the resolved configuration, each key with its meaning.

qaclims show-config --config demo train.ritc.epochs=2
"""

from qaclims_ray.cli import describe, parse, say


def main() -> None:
    """Run the job."""
    experiment, _ = parse(__doc__, overwrites=False)
    say(*describe(experiment))
