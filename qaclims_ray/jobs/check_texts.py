"""Look at a few images whether CLIP tells the regions of each class by its texts (`check_texts/`).

Reads `images`, `pairs` and their text features, and `cams` or `baseline_cams`; with cams.kind=clip
the CAMs of these images are made here. Needs no Ray.

    qaclims check-texts --config demo [--num 50]
    ray job submit --working-dir . -- python jobs/check_texts.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse, say


def main() -> None:
    """Run the job."""
    num = {"type": int, "default": 50, "metavar": "N", "help": "images looked at"}
    experiment, arguments = parse(__doc__, overwrites=False, num=num)
    from qaclims_ray.preflight import texts

    say(texts.run(experiment, num_images=arguments.num))
