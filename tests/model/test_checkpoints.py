import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qaclims_ray.model import checkpoints
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.irn import Irn
from qaclims_ray.model.resnet import resnet50

GOLDEN = Path(__file__).parents[1] / "golden" / "data"


def filled(shapes):
    """A state with a tensor of its own for each name."""
    return {name: torch.full(shape, float(i)) for i, (name, shape) in enumerate(shapes.items())}


@pytest.fixture(scope="module")
def cam_names():
    return json.loads((GOLDEN / "cam_network_names.json").read_text())


@pytest.fixture(scope="module")
def published(cam_names):
    state = filled({name: cam_names["shapes"][name] for name in cam_names["canonical"]})
    aliases = cam_names["alias_to_canonical"]
    return state | {alias: state[name] for alias, name in aliases.items()}


def test_a_published_cam_checkpoint_is_loaded(published, tmp_path):
    torch.save(published, tmp_path / "res50_cam.pth")
    state = checkpoints.from_published_cam(checkpoints.read_state(tmp_path / "res50_cam.pth"))
    net = build_cam_net("resnet50", 20)
    checkpoints.load_exactly(net, state, "res50_cam.pth")
    assert len(state) == len(net.state_dict()) == 319
    assert torch.equal(net.classifier.weight, published["newly_added.0.weight"])
    assert torch.equal(
        net.backbone.layer4[2].bn3.running_var, published["stage4.0.2.bn3.running_var"]
    )


def test_our_weights_go_back_to_all_published_names(published, cam_names):
    exported = checkpoints.to_published_cam(checkpoints.from_published_cam(published))
    assert len(exported) == cam_names["n_keys"]
    assert exported.keys() == published.keys()
    assert all(torch.equal(exported[name], published[name]) for name in published)


def test_an_exported_file_holds_each_tensor_once(published, tmp_path):
    torch.save(
        checkpoints.to_published_cam(checkpoints.from_published_cam(published)), tmp_path / "a"
    )
    torch.save(checkpoints.from_published_cam(published), tmp_path / "b")
    assert (tmp_path / "a").stat().st_size < 1.1 * (tmp_path / "b").stat().st_size


def test_another_number_of_classes_is_an_error(published):
    net = build_cam_net("resnet50", 80)
    with pytest.raises(ValueError, match=r"other shape \['classifier.weight'\]"):
        checkpoints.load_exactly(net, checkpoints.from_published_cam(published), "res50_cam.pth")


def test_a_published_irn_checkpoint_is_loaded(tmp_path):
    names = json.loads((GOLDEN / "irn.json").read_text())["state_dict"]
    state = filled(names["canonical"]) | {alias: torch.zeros(1) for alias in names["aliases"]}
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "irn.pth")
    ours = checkpoints.from_published_irn(checkpoints.read_state(tmp_path / "irn.pth"))
    net = Irn(resnet50())
    checkpoints.load_exactly(net, ours, "irn.pth")
    assert torch.equal(net.backbone.conv1.weight, state["resnet50.conv1.weight"])
    assert torch.equal(net.edge_layers[5].bias, state["fc_edge6.bias"])
    assert torch.equal(net.dp_layers[6][3].weight, state["fc_dp7.3.weight"])


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("counters", [True, False])
def test_imagenet_weights_of_torchvision_and_timm_are_loaded(tmp_path, suffix, counters):
    reference = resnet50()
    state = {
        **reference.state_dict(),
        "fc.weight": torch.zeros(1000, 2048),
        "fc.bias": torch.zeros(9),
    }
    if not counters:
        state = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    path = tmp_path / f"resnet50.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    net = resnet50()
    checkpoints.load_backbone(net, path)
    assert torch.equal(net.layer3[5].conv2.weight, reference.layer3[5].conv2.weight)


def test_weights_are_found_below_model_and_without_module(tmp_path):
    torch.save({"model": {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "a.pth")
    assert checkpoints.read_state(tmp_path / "a.pth").keys() == {"a"}


def test_a_file_without_tensors_is_an_error(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"holds no tensors; its keys are \['epoch'\]"):
        checkpoints.read_state(tmp_path / "a.pth")


class Malicious:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (print, ("run",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"a": Malicious()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="plain tensors"):
        checkpoints.read_state(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"PK\x03\x04", b"\x80\x02]."])
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        checkpoints.read_state(tmp_path / name)
