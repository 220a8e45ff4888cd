import pytest
import torch

from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.fcn import fcn
from qaclims_ray.model.segmenter import build_segmenter
from qaclims_ray.model.segmenter_files import load_segmenter, save_segmenter


@pytest.fixture
def weights(tmp_path):
    net = build_cam_net("small_resnet", 3)
    torch.save(net.backbone.state_dict(), tmp_path / "backbone.pth")
    return tmp_path / "backbone.pth", net


def test_it_starts_from_the_weights_of_a_cam_network(weights):
    path, cam_net = weights
    net = fcn("fcn:small_resnet", 4, weights=path)
    images = torch.randn(2, 3, 40, 56)
    torch.testing.assert_close(net.eval().encoder(images), cam_net.eval().backbone(images))
    assert net(images).shape == (2, 4, 5, 7)


def test_a_cells_logits_are_linear_in_its_features(weights):
    path, _ = weights
    net = fcn("fcn:small_resnet", 4, weights=path).eval()
    images = torch.randn(1, 3, 16, 16)
    features = net.encoder(images)[0, :, 1, 0]
    expected = net.head.weight[:, :, 0, 0] @ features + net.head.bias
    torch.testing.assert_close(net(images)[0, :, 1, 0], expected)


def test_an_unknown_backbone_names_the_legal_ones():
    with pytest.raises(ValueError, match=r"no segmenter is called 'fcn:x'; legal are fcn:resnet50"):
        fcn("fcn:x", 4, weights=None)


def test_it_is_saved_and_loaded(tmp_path):
    net = build_segmenter("fcn:small_resnet", 3, weights=None).eval()
    save_segmenter(net, tmp_path, ("cat", "dog"))
    loaded, names = load_segmenter(tmp_path)
    assert names == ("cat", "dog")
    images = torch.randn(1, 3, 33, 20)
    torch.testing.assert_close(loaded(images), net(images))
