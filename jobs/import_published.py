"""Published files into a run, instead of making its artifacts; and CAM networks back out.

    python jobs/import_published.py --config configs/voc12.yaml --cam_net res50_qa_clims.pth
    ray job submit --working-dir . -- python jobs/import_published.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --cam_net /shared/res50_qa_clims.pth

ImageNet weights (torchvision, timm) need no import: name the file as model.backbone_weights.
"""

from argparse import ArgumentParser, RawTextHelpFormatter

from qaclims_ray import published
from qaclims_ray.cli import run_job


def main() -> None:
    """Run the job."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("--config", metavar="FILE", help="of the run; for all but clip")
    parser.add_argument("--overwrite", action="store_true", help="replace the run's artifacts")
    for kind, (files, meaning) in published.KINDS.items():
        parser.add_argument(f"--{kind}", nargs=len(files), metavar=files, help=meaning)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    print("\n".join(published.run(vars(parser.parse_intermixed_args()))))


if __name__ == "__main__":
    run_job(main)
