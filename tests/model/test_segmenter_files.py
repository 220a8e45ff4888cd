import json

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSemanticSegmentation

from qaclims_ray.model.deeplab import DeepLabV2
from qaclims_ray.model.segmenter import build_segmenter
from qaclims_ray.model.segmenter_files import load_segmenter, save_segmenter

NAMES = ("cat", "dog", "potted plant")


def _edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_saved_network_loads_with_its_names(segmenter, tmp_path):
    save_segmenter(segmenter, tmp_path, NAMES)
    loaded, names = load_segmenter(tmp_path)
    assert names == NAMES
    assert loaded.num_labels == 4
    assert not loaded.training
    images = torch.randn(1, 3, 45, 61)
    assert torch.equal(loaded(images), segmenter(images))


def test_a_folder_is_in_the_format_of_its_library(make_segmenter, tmp_path):
    loads = {
        "smp": smp.from_pretrained,
        "transformers": AutoModelForSemanticSegmentation.from_pretrained,
        "deeplabv2": DeepLabV2.from_pretrained,
    }
    for kind, load in loads.items():
        net = make_segmenter(kind)
        save_segmenter(net, tmp_path / kind, NAMES)
        expected = net.net.state_dict()
        for name, value in load(tmp_path / kind).state_dict().items():
            assert torch.equal(value, expected[name])


def test_transformers_networks_tell_their_labels(make_segmenter, tmp_path):
    save_segmenter(make_segmenter("transformers"), tmp_path, NAMES)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == dict(zip("0123", ("background", *NAMES), strict=True))


def test_more_than_ten_names_keep_their_order(segformer, tmp_path):
    names = tuple(f"class {i}" for i in range(20))
    save_segmenter(build_segmenter(segformer, 21, weights=None), tmp_path, names)
    assert load_segmenter(tmp_path)[1] == names


def test_names_that_do_not_fit_are_an_error(segmenter, tmp_path):
    with pytest.raises(ValueError, match="2 class names for a network of 4 labels"):
        save_segmenter(segmenter, tmp_path / "new", NAMES[:2])
    assert not (tmp_path / "new").exists()


def test_a_saved_network_is_the_start_of_the_next(make_segmenter, tmp_path):
    net = make_segmenter("smp")
    save_segmenter(net, tmp_path, NAMES)
    again = build_segmenter("smp:DeepLabV3Plus/tu-resnet10t", 6, weights=str(tmp_path))
    expected = net.encoder.state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in again.encoder.state_dict().items())


def test_loading_downloads_nothing(make_segmenter, tmp_path):
    save_segmenter(make_segmenter("smp"), tmp_path, NAMES)
    _edit(tmp_path, encoder_weights=True)
    load_segmenter(tmp_path)  # tests have no connection


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("smp", {"_model_class": "from_pretrained"}, "asks for a 'from_pretrained'"),
        ("smp", {"_class_names": ["cat"]}, "1 class names for a network of 4 labels"),
        ("smp", {"checkpoint_path": "/some.pth"}, "asks for a 'DeepLabV3Plus' with .*checkpoint"),
        ("smp", {"encoder_name": "tu-hf-hub:a/b"}, "not of the form smp:"),
        ("smp", {"classes": 5}, "do not fit"),
        ("deeplabv2", {"depths": [1, 1, 1, 2]}, "do not fit: .* lacking"),
        ("deeplabv2", {"url": "x"}, "asks for a 'DeepLabV2' with .*'url'"),
        ("transformers", {"depths": [1, 1, 1, 2]}, "do not fit: lacking"),
        ("transformers", {"model_type": "bert"}, "is no segmenter: "),
        ("transformers", {"id2label": {str(i): f"x{i}" for i in range(4)}}, "first label .* 'x0'"),
    ],
)
def test_a_changed_configuration_is_an_error(kind, changes, message, make_segmenter, tmp_path):
    save_segmenter(make_segmenter(kind), tmp_path, NAMES)
    _edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_segmenter(tmp_path)


def test_a_folder_without_safetensors_is_an_error_and_nothing_is_unpickled(
    make_segmenter, tmp_path
):
    for kind in ("smp", "transformers", "deeplabv2"):
        folder = tmp_path / kind
        save_segmenter(make_segmenter(kind), folder, NAMES)
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
        with pytest.raises(ValueError, match="is no segmenter: it lacks"):
            load_segmenter(folder)


def test_code_in_a_folder_is_not_run(make_segmenter, tmp_path):
    save_segmenter(make_segmenter("transformers"), tmp_path, NAMES)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Config: ...")
    _edit(tmp_path, auto_map={"AutoModelForSemanticSegmentation": "evil.Config"})
    load_segmenter(tmp_path)
    _edit(tmp_path, model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    with pytest.raises(ValueError, match="is no segmenter"):
        load_segmenter(tmp_path)
    assert not (tmp_path / "run").exists()


def test_weights_with_a_tensor_too_few_are_an_error(segmenter, tmp_path):
    save_segmenter(segmenter, tmp_path, NAMES)
    state = load_file(tmp_path / "model.safetensors")
    state.pop(next(name for name in state if name.endswith("weight")))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="do not fit"):
        load_segmenter(tmp_path)


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"is no segmenter: it lacks config\.json"):
        load_segmenter(tmp_path / "none")
