"""Trained segmentation networks as ONNX files."""

import copy
import io
import json
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from qaclims_ray.model.segmenter import Segmenter
from qaclims_ray.model.segmenter_files import BACKGROUND_NAME
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD

OPSET = 17
TOLERANCE = 1e-3
"""Largest difference allowed, in units of the largest logit."""
_TRACED = (96, 160)
"""Height and width in pixels of the images that the exporter follows through the network."""
_CHECKED = ((1, 64, 64), (2, 75, 131), (1, 200, 97))
"""Number of images, height and width that are compared."""


def export_onnx(net: Segmenter, path: str | Path, class_names: Sequence[str]) -> float:
    """Write a network as an ONNX file and compare it with torch on images of three sizes.

    The file takes `images` (batch, 3, height, width; RGB in [0, 1] normalised by `mean` and `std`
    of its metadata) and gives `logits` (batch, labels, height, width); batch, height and width are
    free, sides from `net.minimum` pixels. Its metadata hold `class_names`, the background first.

    Args:
        net: unchanged.
        path: of the file, below 2 GB; its folder exists.
        class_names: without the background, in the order of their indices.

    Returns:
        The largest difference of logits, in units of the largest logit.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
        ValueError: the exporter cannot express the network, or its result computes something else;
            then no file is written.
    """
    onnx, onnxruntime = _libraries()
    net = copy.deepcopy(net).cpu().float().eval()
    model = onnx.load_from_string(_exported(net))
    names = json.dumps([BACKGROUND_NAME, *class_names])
    facts = {"class_names": names, "mean": str(IMAGENET_MEAN), "std": str(IMAGENET_STD)}
    onnx.helper.set_model_props(model, facts)
    encoded = model.SerializeToString()
    difference = _difference(net, onnxruntime.InferenceSession(encoded))
    Path(path).write_bytes(encoded)
    return difference


def _exported(net: Segmenter) -> bytes:
    file = io.BytesIO()
    images = torch.zeros(2, 3, *(max(side, net.minimum) for side in _TRACED))
    export: Any = torch.onnx.export
    axes = {0: "batch", 2: "height", 3: "width"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing; what it gets wrong, the comparison finds
            # The newer exporter cannot express padding to multiples of a number (torch 2.15).
            export(
                net,
                (images,),
                file,
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={"images": axes, "logits": axes},
                opset_version=OPSET,
                dynamo=False,
            )
    except RuntimeError as error:
        raise ValueError(
            "torch cannot export this network to ONNX; it can for DeepLabV3Plus, Unet, SegFormer "
            f"and DeepLabV2, but not for PSPNet and UPerNet: {str(error).splitlines()[0]}"
        ) from error
    return file.getvalue()


@torch.no_grad()
def _difference(net: Segmenter, session: Any) -> float:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, *sides in _CHECKED:
        size = [max(net.minimum, side) for side in sides]
        images = torch.randn(batch, 3, *size, generator=generator)
        expected = net(images)
        (found,) = session.run(None, {"images": images.numpy()})
        if found.shape != expected.shape:
            raise ValueError(
                f"the ONNX file gives logits of shape {found.shape} for images of {size} pixels: "
                f"torch gives {tuple(expected.shape)}"
            )
        largest = expected.abs().amax()
        worst = max(worst, float((torch.from_numpy(found) - expected).abs().amax() / largest))
    if not worst <= TOLERANCE:
        raise ValueError(
            f"the ONNX file differs from torch by {worst:.2g} of the largest logit, more than "
            f"{TOLERANCE:g}: this network cannot be exported"
        )
    return worst


def _libraries() -> tuple[Any, Any]:
    try:
        return import_module("onnx"), import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            "ONNX files need onnx and onnxruntime: install them by "
            "`pip install 'qaclims_ray[onnx]'`"
        ) from error
