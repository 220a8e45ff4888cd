import pytest
import torch
from safetensors.torch import load_file, save

from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.checkpoints import from_published_cam, to_published_cam
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.train.published import export_net, import_net

CLASSES = ["boat", "cow"]


@pytest.fixture
def experiment(make_experiment, tmp_path):
    """A run with ResNet-50 whose images, none, are of two classes."""
    overrides = {"model.backbone": "resnet50", "model.backbone_weights": None}
    experiment = make_experiment(tmp_path / "run", overrides)
    facts = {"class_names": CLASSES}
    make(experiment, "images", lambda target: Built(0, 0, facts), overwrite=False)
    return experiment


def save_checkpoint(path, num_classes=2):
    net = build_cam_net("resnet50", num_classes)
    torch.save(to_published_cam(net.state_dict()), path)
    return net


def test_a_cam_checkpoint_goes_in_and_out_unchanged(experiment, tmp_path):
    net = save_checkpoint(tmp_path / "res50.pth")
    import_net(experiment, "classifier", str(tmp_path / "res50.pth"), overwrite=False)
    target = artifact(experiment, "classifier")
    ours = load_file(f"{target.uri}/model.safetensors")
    assert all(torch.equal(ours[name], value) for name, value in net.state_dict().items())
    imported = {"class_names": CLASSES, "imported": [str(tmp_path / "res50.pth")]}
    assert target.require()["facts"] == imported
    export_net(experiment, "classifier", str(tmp_path / "back.pth"))
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == torch.load(tmp_path / "res50.pth", weights_only=True).keys()
    assert torch.equal(from_published_cam(back)["classifier.weight"], net.classifier.weight)


@pytest.mark.parametrize("backbone", ["small_resnet", "timm:resnet18"])
def test_a_backbone_that_the_published_code_lacks_is_not_exported(experiment, tmp_path, backbone):
    other = experiment.with_overrides({"model.backbone": backbone})
    net = build_cam_net(backbone, len(CLASSES))
    make(other, "classifier", lambda target: _write_net(net, target), overwrite=False)
    with pytest.raises(ValueError, match=f"loads resnet50 only, and the .* is '{backbone}'"):
        export_net(other, "classifier", str(tmp_path / "back.pth"))
    assert not (tmp_path / "back.pth").exists()


def _write_net(net, target):
    write_bytes(f"{target.uri}/model.safetensors", save(net.state_dict()))
    return Built(0, 0, {})


def test_a_checkpoint_for_other_classes_is_an_error(experiment, tmp_path):
    save_checkpoint(tmp_path / "res50.pth", num_classes=20)
    with pytest.raises(ValueError, match=r"other shape \['classifier.weight'\]"):
        import_net(experiment, "cam_net", str(tmp_path / "res50.pth"), overwrite=False)
