"""Seeds, masks, predictions or CAM regions as files for label tools: PNG, COCO, YOLO, LabelMe.

    qaclims export-masks --config demo --of masks --to FOLDER [--format png|coco|yolo|labelme]
    qaclims export-masks --config demo --of cams --threshold 0.3 --to FOLDER --format labelme
    ray job submit --working-dir . -- python jobs/export_masks.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --of masks --to s3://bucket/masks

png: NAME.png for each image (class index + 1, 0 background, 255 undecided), classes.txt, and
files.csv, which says what file of the data set each mask is of.
coco: masks.json, say, with a run-length code for each image and class, and the images' own file
names (in runs of earlier versions NAME.jpg, or what --suffix says).
yolo: NAME.txt with a polygon for each part of each class, and data.yaml. labelme: NAME.json with the
same, and shapes of the label __ignore__ where nothing is decided. Holes are joined to the outline
around them by a seam, so that no pixel is lost.
Files that people corrected come back as ground truth: data.corrections=FOLDER. Images without label
map are left out. Needs no Ray.
"""

from qaclims_ray.cli import parse, say
from qaclims_ray.run.graph import of_kind


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(
        __doc__,
        None,
        overwrites=False,
        of={
            "choices": [*of_kind("label_maps"), *of_kind("cams")],
            "required": True,
            "help": "what is exported",
        },
        to={"required": True, "metavar": "FOLDER", "help": "folder or URL"},
        format={
            "choices": ("png", "coco", "yolo", "labelme"),
            "default": "png",
            "help": "default: png",
        },
        threshold={"type": float, "metavar": "X", "help": "of CAMs; default: their best one"},
        suffix={
            "default": ".jpg",
            "help": "of images whose file names the run lacks; default: .jpg",
        },
    )
    from qaclims_ray.report import export

    say(
        export.run(
            experiment,
            arguments.of,
            arguments.to,
            fmt=arguments.format,
            suffix=arguments.suffix,
            threshold=arguments.threshold,
        )
    )
