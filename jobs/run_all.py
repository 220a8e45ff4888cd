"""The whole run in one Ray session: images, corpus, texts, classifier, RITC, CAMs, scores, report.

    python jobs/run_all.py --config configs/demo.yaml [--until images|corpus|texts|cam_net|cams]
    ray job submit --working-dir . -- python jobs/run_all.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
A stage that is complete is skipped; an interrupted one goes on. --overwrite makes all anew.
"""

from qaclims_ray.cams import stage as cams
from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.corpus import stage as corpus
from qaclims_ray.evaluate import stage as evaluate
from qaclims_ray.evaluate import stream as scores
from qaclims_ray.ingest import stage as data
from qaclims_ray.preflight.check import artifacts_until, check
from qaclims_ray.report import page as report
from qaclims_ray.train import stage as train


def main() -> None:
    """Run the job."""
    stages = {"images": data.run, "corpus": corpus.run, "texts": corpus.run_texts}
    stages |= {"cam_net": train.run_both, "cams": cams.run_both}
    experiment, arguments = parse(__doc__, until={"choices": tuple(stages), "default": ""})
    wanted = artifacts_until(arguments.until, experiment)
    tell(check(experiment, *wanted, overwrite=arguments.overwrite))
    for name, run in stages.items():
        print(run(experiment, overwrite=arguments.overwrite))
        if name == arguments.until:
            return
    print(scores.run_both(experiment, overwrite=arguments.overwrite))
    print(f"\n{evaluate.table(experiment)}\n\n{report.run(experiment)}")


if __name__ == "__main__":
    run_job(main)
