"""The whole run in one Ray session: images, corpus, texts, networks, CAMs, scores, report.

    qaclims run --config demo [--until ARTIFACT] [--from ARTIFACT]
    ray job submit --working-dir . -- python jobs/run_all.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
A stage that is complete is skipped; an interrupted one goes on. --overwrite makes all anew, --from one and what follows.
"""

from importlib import import_module
from typing import Any

from qaclims_ray.cli import parse, say, tell
from qaclims_ray.run.graph import ARTIFACTS


def main() -> None:
    """Run the job."""
    until = {"choices": tuple(ARTIFACTS), "default": "", "help": "last artifact to make"}
    start = {**until, "dest": "start", "help": "artifact to make anew, with what follows from it"}
    options: dict[str, Any] = {"until": until, "from": start}
    experiment, arguments = parse(__doc__, **options)
    from qaclims_ray.evaluate.stage import has_truth, table
    from qaclims_ray.preflight.check import artifacts_until, check, check_sizes
    from qaclims_ray.report import page as report
    from qaclims_ray.run.images import NO_TRUTH
    from qaclims_ray.run.lineage import remade_from

    names = artifacts_until(arguments.until, experiment)
    anew = names if arguments.overwrite else remade_from(experiment, arguments.start)
    tell(check(experiment, *names, anew=anew))
    for name in names:
        if ARTIFACTS[name].kind == "scores" and not has_truth(experiment, name):
            say(f"{name}: {NO_TRUTH}")
            continue
        stage = import_module(f"qaclims_ray.{ARTIFACTS[name].stage}")
        say(stage.run(experiment, name, overwrite=name in anew))
        if name == "images":
            tell(check_sizes(experiment, names))
    if not arguments.until:
        say(f"\n{table(experiment)}\n\n{report.run(experiment)}")
