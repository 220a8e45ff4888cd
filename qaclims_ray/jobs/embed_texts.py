"""Collect the texts of every pair and encode them with CLIP (artifacts `pairs`, `texts`). Reads `corpus`.

With cams.kind=clip the CLIP that makes CAMs encodes them (`cam_texts` instead of `texts`).

qaclims texts --config demo
ray job submit --working-dir . -- python jobs/embed_texts.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    from qaclims_ray.corpus.stage import text_artifacts

    make(experiment, arguments, *text_artifacts(experiment))
