"""The trained segmenter as files for other programs: its own library's folder, and ONNX."""

from pathlib import Path
from tempfile import TemporaryDirectory

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model.segmenter_files import save_segmenter
from qaclims_ray.model.segmenter_onnx import export_onnx
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.lineage import check_lineage
from qaclims_ray.segment.predict import load_trained
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.storage.paths import absolute

ONNX = "model.onnx"


def run(experiment: Experiment, to: str, *, onnx: bool) -> str:
    """Export the trained segmenter of a run and return the summary line.

    The folder gets `config.json`, with the class names, and `model.safetensors`, which
    `model.segmenter_files.load_segmenter` and the network's own library read; some libraries add a
    README.md. Files of these names are overwritten; where something fails, none is written.

    Args:
        experiment: A run with the artifact `segmenter`.
        to: Folder or URL.
        onnx: Write `model.onnx` too, which is compared with the network on images of three sizes.

    Raises:
        ValueError: the artifact is not complete, or stale; ONNX cannot express the network, or onnx
            or onnxruntime is not installed.
    """
    check_lineage(experiment, "segmenter")
    segmenter, to = artifact(experiment, "segmenter"), absolute(to)
    net = load_trained(experiment, segmenter)
    names: list[str] = segmenter.fact("class_names")
    told = f"export_segmenter: {type(net.net).__name__}, background and {len(names)} classes"
    with TemporaryDirectory() as folder:
        save_segmenter(net, folder, names)
        if onnx:
            try:
                difference = export_onnx(net, Path(folder, ONNX), names)
            except ImportError as error:
                raise ValueError(f"--onnx: {error}") from error
            told += f", ONNX differs from torch by at most {difference:.1g} of the largest logit"
        files = sorted(Path(folder).iterdir())
        for file in files:
            write_bytes(f"{to}/{file.name}", file.read_bytes())
    return f"{told} · {to}: {', '.join(file.name for file in files)}"
