"""One HTML page of a run (`report.html`): scores, curves, CAMs, answers, losses, times.

Reads whatever the run has; needs no Ray.

    qaclims report --config demo
    ray job submit --working-dir . -- python jobs/report.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse, say


def main() -> None:
    """Run the job."""
    experiment, _ = parse(__doc__, overwrites=False)
    from qaclims_ray.report import page as report

    say(report.run(experiment))
