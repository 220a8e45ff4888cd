"""The trained segmenter in its own library's folder format, and as an ONNX file.

    qaclims export-segmenter --config demo --to FOLDER [--onnx]
    ray job submit --working-dir . -- python jobs/export_segmenter.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12 --to s3://bucket/segmenter

FOLDER (or a URL) gets config.json, with the class names, and model.safetensors: `from_pretrained` of
segmentation_models_pytorch or transformers reads them. --onnx adds model.onnx, compared with torch on
images of three sizes (needs `pip install 'qaclims_ray[onnx]'`). Needs no Ray.
"""

from qaclims_ray.cli import parse, say


def main() -> None:
    """Run the job."""
    to = {"required": True, "metavar": "FOLDER", "help": "folder or URL"}
    experiment, arguments = parse(__doc__, None, "--onnx", overwrites=False, to=to)
    from qaclims_ray.segment import export

    say(export.run(experiment, arguments.to, onnx=arguments.onnx))
