import json
import sys

import onnx
import onnxruntime
import pytest
import torch

from qaclims_ray.model import segmenter_onnx
from qaclims_ray.model.deeplab import DeepLabV2
from qaclims_ray.model.segmenter import Segmenter, build_segmenter
from qaclims_ray.model.segmenter_onnx import export_onnx

NAMES = ("cat", "dog", "potted plant")


def test_the_file_computes_what_torch_does_on_images_of_any_size(segmenter, tmp_path):
    segmenter.train()
    assert export_onnx(segmenter, tmp_path / "net.onnx", NAMES) < 1e-4
    assert segmenter.training
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    segmenter.eval()
    for shape in ((1, 3, 1, 50), (3, 3, 33, 97), (1, 3, 130, 70)):
        images = torch.randn(shape)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), segmenter(images), rtol=1e-3, atol=1e-4)


def test_the_file_tells_its_classes_and_free_sides(make_segmenter, tmp_path):
    export_onnx(make_segmenter("transformers"), tmp_path / "net.onnx", NAMES)
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["class_names"]) == ["background", *NAMES]
    assert facts["mean"] == "(0.485, 0.456, 0.406)"
    sides = [
        side.dim_param or side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim
    ]
    assert sides == ["batch", 3, "height", "width"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "smp:FPN/tu-convnext_atto",
        "smp:PAN/resnet18",
        "smp:Unet/mobilenet_v2",
        "smp:Segformer/mit_b0",
    ],
)
def test_other_architectures(name, tmp_path):
    net = build_segmenter(name, 4, weights=None)
    assert export_onnx(net, tmp_path / "net.onnx", NAMES) < 1e-3


class Baked(DeepLabV2):
    """The tracer keeps the height that it saw, for a network asks for it as a number."""

    def forward(self, images):
        return super().forward(images) * float(images.shape[2])


def test_a_file_that_computes_something_else_is_an_error(tmp_path):
    net = Segmenter(Baked(4, depths=(1, 1, 1, 1)), 4)
    with pytest.raises(ValueError, match="the ONNX file differs from torch by"):
        export_onnx(net, tmp_path / "net.onnx", NAMES)
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.slow
def test_a_network_that_the_exporter_cannot_express_is_an_error(tmp_path):
    net = build_segmenter("smp:UPerNet/tu-convnext_atto", 4, weights=None)
    with pytest.raises(ValueError, match=r"cannot export this network .*adaptive_avg_pool2d"):
        export_onnx(net, tmp_path / "net.onnx", NAMES)


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_without_the_libraries_the_error_says_what_to_install(
    library, make_segmenter, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"pip install 'qaclims_ray\[onnx\]'"):
        segmenter_onnx.export_onnx(make_segmenter("transformers"), tmp_path / "net.onnx", NAMES)
