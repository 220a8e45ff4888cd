"""Seeds, masks or predictions as files for label tools: paletted PNGs, or one COCO JSON file.

    qaclims export-masks --config demo --of seeds|masks|predictions --to FOLDER [--format png|coco]
    ray job submit --working-dir . -- python jobs/export_masks.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --of masks --to s3://bucket/masks

png: NAME.png for each image (class index + 1, 0 background, 255 undecided), classes.txt, and
files.csv, which says what file of the data set each mask is of.
coco: masks.json, say, with a run-length code for each image and class, and the images' own file
names (in runs of earlier versions NAME.jpg, or what --suffix says).
Images without label map are left out. Needs no Ray.
"""

from qaclims_ray.cli import parse, say
from qaclims_ray.run.graph import of_kind


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(
        __doc__,
        None,
        overwrites=False,
        of={"choices": of_kind("label_maps"), "required": True, "help": "what is exported"},
        to={"required": True, "metavar": "FOLDER", "help": "folder or URL"},
        format={"choices": ("png", "coco"), "default": "png", "help": "default: png"},
        suffix={
            "default": ".jpg",
            "help": "of images whose file names the run lacks; default: .jpg",
        },
    )
    from qaclims_ray.report import export

    fmt, suffix = arguments.format, arguments.suffix
    say(export.run(experiment, arguments.of, arguments.to, fmt=fmt, suffix=suffix))
