"""Collect the texts of every pair and encode them with CLIP (artifacts `pairs`, `texts`). Reads `corpus`.

With cams.kind=clip the CLIP that makes CAMs encodes them (`cam_texts` instead of `texts`).

python jobs/embed_texts.py --config configs/demo.yaml
ray job submit --working-dir . -- python jobs/embed_texts.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.corpus import stage
from qaclims_ray.preflight.check import check


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    tell(check(experiment, *stage.text_artifacts(experiment), overwrite=arguments.overwrite))
    print(stage.run_texts(experiment, overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
