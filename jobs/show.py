"""A contact sheet of a run's images with labels and masks (`show/sheet.html`), to see they are right.

    python jobs/show.py --config configs/demo.yaml [--num 40 | --names A,B | --shard 0]
    python jobs/show.py --config configs/demo.yaml --names A,B --cams --baseline
    python jobs/show.py --config configs/demo.yaml --of seeds,masks,predictions
    ray job submit --working-dir . -- python jobs/show.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --num 40
Shows 24 images of all classes, or so many (--num), or those called A and B (a name with a comma in
quotes: --names 'A,"B,C"'), or a Parquet file of `images` (--shard). With --cams and --baseline also
the CAMs of QA-CLIMS and of the classifier, and of each image a paletted PNG and an overlay in
show/cams and show/baseline_cams. --of names any artifacts of CAMs or label maps. Needs no Ray.
"""

import csv

from qaclims_ray.cli import parse, run_job
from qaclims_ray.report import sheet
from qaclims_ray.report.panels import drawn_artifacts


def main() -> None:
    """Run the job."""
    experiment, which = parse(
        __doc__,
        None,
        "--cams",
        "--baseline",
        overwrites=False,
        num={"type": int, "metavar": "N"},
        names={"default": "", "metavar": "A,B"},
        shard={"type": int, "metavar": "K", "help": "number of a Parquet file"},
        of={"default": "", "metavar": "A,B", "help": f"of {', '.join(drawn_artifacts())}"},
    )
    names = [name for row in csv.reader([which.names]) for name in row if name]
    wanted = {"baseline_cams": which.baseline, "cams": which.cams}
    cams = [name for name, is_wanted in wanted.items() if is_wanted]
    cams += [name for name in which.of.split(",") if name and name not in cams]
    if not set(cams) <= set(drawn_artifacts()):
        raise ValueError(f"--of {which.of}: legal are {', '.join(drawn_artifacts())}")
    print(sheet.run(experiment, names=names, num_images=which.num, shard=which.shard, cams=cams))


if __name__ == "__main__":
    run_job(main)
