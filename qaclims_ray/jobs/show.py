"""A contact sheet of a run's images with labels and masks (`show/sheet.html`), to see they are right.

    qaclims show --config demo [--num 40 | --names A,B | --shard 0]
    qaclims show --config demo --names A,B --cams --baseline
    qaclims show --config demo --of seeds,masks,predictions
    ray job submit --working-dir . -- python jobs/show.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --num 40
Shows 24 images of all classes, or so many (--num), or those called A and B (a name with a comma in
quotes: --names 'A,"B,C"'), or a Parquet file of `images` (--shard). With --cams and --baseline also
the CAMs of QA-CLIMS and of the classifier, and of each image a paletted PNG and an overlay in
show/cams and show/baseline_cams. --of names any artifacts of CAMs or label maps, --to another folder
than show. CAMs of an image with several classes are drawn together and class by class. Needs no Ray.
"""

import csv

from qaclims_ray.cli import parse, say


def main() -> None:
    """Run the job."""
    experiment, which = parse(
        __doc__,
        None,
        "--cams",
        "--baseline",
        overwrites=False,
        num={"type": int, "metavar": "N", "help": "how many images; default: 24"},
        names={"default": "", "metavar": "A,B", "help": "names of images"},
        shard={"type": int, "metavar": "K", "help": "number of a Parquet file"},
        of={"default": "", "metavar": "A,B", "help": "artifacts of CAMs or label maps"},
        to={"metavar": "FOLDER", "help": "folder or URL; default: show in the run"},
    )
    from qaclims_ray.report import sheet

    names = [name for row in csv.reader([which.names]) for name in row if name]
    flags = {"baseline_cams": which.baseline, "cams": which.cams}
    asked = [*(name for name, is_set in flags.items() if is_set), *which.of.split(",")]
    drawn = [name for name in dict.fromkeys(asked) if name]
    say(
        sheet.run(
            experiment,
            names=names,
            num_images=which.num,
            shard=which.shard,
            drawn=drawn,
            folder=which.to,
        )
    )
