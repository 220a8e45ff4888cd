"""mIoU and more of what a run has made (CAMs, seeds, masks, predictions), or of any label maps.

    qaclims evaluate --config demo [--of cams|baseline_cams|seeds|masks|predictions]
    qaclims evaluate --config demo [--baseline] [evaluate.stream=true]
    qaclims evaluate --config demo --masks FOLDER
    ray job submit --working-dir . -- python jobs/evaluate.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--baseline is --of baseline_cams. evaluate.stream=true makes the CAMs and scores them in one pass,
and writes none of them.
--masks scores pseudo masks or predictions of any method. FOLDER (or a URL) holds a file for each
image that has ground truth: NAME.png with class index + 1, NAME.txt of YOLO's polygons with data.yaml
or classes.txt, or NAME.json of LabelMe; or it is a COCO file, or holds one. These are what
`qaclims export-masks` writes. The result goes to `label_map_scores` in the run.
"""

from qaclims_ray.cli import parse, say, tell
from qaclims_ray.run.graph import ARTIFACTS, of_kind, scores_of


def main() -> None:
    """Run the job."""
    scored = [ARTIFACTS[name].of for name in of_kind("scores")]
    of = {"choices": scored, "default": "cams", "help": "what is scored"}
    masks = {"metavar": "FOLDER", "help": "label maps of any method"}
    experiment, arguments = parse(__doc__, None, "--baseline", of=of, masks=masks)
    from qaclims_ray.evaluate import label_maps, stage, stream
    from qaclims_ray.ingest.label_maps import readers_of
    from qaclims_ray.preflight.check import check
    from qaclims_ray.storage.paths import absolute

    if arguments.masks is not None:
        masks = absolute(arguments.masks)
        say(label_maps.run_label_maps(experiment, masks, readers_of(experiment, masks)))
        return
    name = scores_of("baseline_cams" if arguments.baseline else arguments.of)
    assert name is not None
    tell(check(experiment, name, overwrite=arguments.overwrite))
    line = stream.run(experiment, name, overwrite=arguments.overwrite)
    say(line, "", stage.table(experiment))
