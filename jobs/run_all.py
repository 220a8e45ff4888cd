"""The whole run in one Ray session: images, corpus, texts, classifier, RITC, CAMs, scores, report.

    python jobs/run_all.py --config configs/demo.yaml
    ray job submit --working-dir . -- python jobs/run_all.py --config configs/voc12.yaml run=/shared/voc12

A stage that is complete is skipped; an interrupted one goes on. --overwrite makes all anew.
"""

import qaclims_ray.cams.stage as cams
import qaclims_ray.corpus.stage as corpus
import qaclims_ray.data.stage as data
import qaclims_ray.evaluate.stage as evaluate
import qaclims_ray.train.stage as train
from qaclims_ray.cli import parse, run_job
from qaclims_ray.report import page as report


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    for run in (data.run, corpus.run, corpus.run_texts, train.run_both, cams.run_both):
        print(run(experiment, overwrite=arguments.overwrite))
    if evaluate.has_truth(experiment):
        print(evaluate.run_both(experiment, overwrite=arguments.overwrite))
    print(f"\n{evaluate.table(experiment)}\n")
    print(report.run(experiment))


if __name__ == "__main__":
    run_job(main)
