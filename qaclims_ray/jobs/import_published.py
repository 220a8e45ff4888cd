"""Published files into a run, instead of making its artifacts; and CAM networks back out.

    qaclims import-published --config voc12 --cam_net res50_qa_clims.pth
    ray job submit --working-dir . -- python jobs/import_published.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --cam_net /shared/res50_qa_clims.pth

ImageNet weights (torchvision, timm) need no import: name the file as model.backbone_weights.
"""

from qaclims_ray.cli import add_config, job_parser, say
from qaclims_ray.config.experiment import load
from qaclims_ray.config.overrides import parse_overrides

KINDS = {
    "corpus": (("FG.npy", "BG.npy"), "published VQA answers as the artifact corpus"),
    "answers": (("FILE.jsonl",), "answers, a line of JSON for each, as the artifact corpus"),
    "classifier": (("CHECKPOINT",), "a published res50_cam.pth as the artifact classifier"),
    "cam_net": (("CHECKPOINT",), "a published res50_qa_clims.pth as the artifact cam_net"),
    "export": (("NETWORK", "CHECKPOINT"), "classifier or cam_net as the published code loads it"),
    "clip": (("CHECKPOINT", "DIRECTORY"), "OVSeg's checkpoint as a CLIP for model.clip.model"),
    "irn": (("CHECKPOINT",), "a published res50_irn.pth as the artifact irn"),
}
"""What can be imported: its files, and what becomes of them."""


def main() -> None:
    """Run the job."""
    parser = job_parser(__doc__)
    add_config(parser, required=False)
    parser.add_argument("--overwrite", action="store_true", help="replace the run's artifacts")
    for kind, (files, meaning) in KINDS.items():
        parser.add_argument(f"--{kind}", nargs=len(files), metavar=files, help=meaning)
    options = vars(parser.parse_intermixed_args())
    config, overwrite = options["config"], options["overwrite"]
    experiment = None if config is None else load(config, parse_overrides(options["overrides"]))
    from qaclims_ray.published import run

    wanted = {kind: options[kind] for kind in KINDS if options[kind] is not None}
    say(*run(wanted, experiment, overwrite=overwrite))
