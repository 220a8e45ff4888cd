"""mIoU and more of CAMs (artifact `scores`, or with --baseline `baseline_scores`) or of label maps.

python jobs/evaluate.py --config configs/demo.yaml [--baseline] [evaluate.stream=true]
python jobs/evaluate.py --config configs/demo.yaml --masks FOLDER
ray job submit --working-dir . -- python jobs/evaluate.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

evaluate.stream=true makes the CAMs and scores them in one pass, and writes none of them.
--masks scores pseudo masks or predictions of any method: FOLDER (or a URL) holds a NAME.png with
class index + 1 for each image that has ground truth; the result goes to `mask_scores` in the run.
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.evaluate import stage as evaluate
from qaclims_ray.evaluate import stream as scores
from qaclims_ray.preflight.check import check


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(
        __doc__,
        None,
        "--baseline",
        masks={"metavar": "FOLDER", "help": "label maps to score instead of CAMs"},
    )
    if arguments.masks is not None:
        print(evaluate.run_label_maps(experiment, arguments.masks))
        return
    name = "baseline_scores" if arguments.baseline else "scores"
    tell(check(experiment, name, overwrite=arguments.overwrite))
    print(scores.run(experiment, baseline=arguments.baseline, overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
