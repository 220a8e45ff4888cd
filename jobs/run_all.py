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
    again = arguments.overwrite
    print(data.run(experiment, overwrite=again))
    print(corpus.run(experiment, overwrite=again))
    print(corpus.run_texts(experiment, overwrite=again))
    print(train.run(experiment, "classifier", overwrite=again))
    print(train.run(experiment, "cam_net", overwrite=again))
    for baseline in (True, False):
        print(cams.run(experiment, baseline=baseline, overwrite=again))
    if evaluate.has_truth(experiment):
        for baseline in (True, False):
            print(evaluate.run(experiment, baseline=baseline, overwrite=again))
    print(f"\n{evaluate.table(experiment)}\n")
    print(report.run(experiment))


if __name__ == "__main__":
    run_job(main)
