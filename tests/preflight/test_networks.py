import pytest

from qaclims_ray.preflight.networks import network_problems, sizes

NETWORKS = ["classifier", "cam_net", "irn", "segmenter"]


def test_the_demos_networks_can_be_built(make_experiment, tmp_path):
    assert network_problems(make_experiment(tmp_path), NETWORKS, 8) == []


def test_a_vision_transformer_can_be_built_and_measured(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, {"model.backbone": "timm:test_vit"})
    assert network_problems(experiment, ["classifier", "cam_net"], 8) == []
    num_parameters = 371_240 - 64 * 1000 - 1000 + 8 * 64  # timm's classifier for the CAMs'
    assert sizes(experiment, "cam_net", 8).model == 4 * num_parameters


def test_a_backbone_that_there_is_not_is_said_once_with_its_key(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, {"model.backbone": "resnet51"})
    (problem,) = network_problems(experiment, ["images", "classifier", "cam_net"], 8)
    assert problem.startswith("model.backbone: ")
    assert "resnet51" in problem
    assert network_problems(experiment, ["images", "segmenter"], 8) == []


@pytest.mark.parametrize("own", [True, False])
def test_the_boundary_network_takes_some_backbones_only(make_experiment, tmp_path, own):
    key = "train.irn.backbone" if own else "model.backbone"
    experiment = make_experiment(tmp_path, {key: "timm:resnet10t"})
    (problem,) = network_problems(experiment, ["irn"], 8)
    assert problem.startswith(f"{key}: the boundary network has no backbone 'timm:resnet10t': it")


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        ("smp:DeepLabV4/resnet50", "smp has no architecture 'DeepLabV4'"),
        ("smp:Unet/resnet51", "smp has no encoder 'resnet51'; near: "),
        ({"model_type": "bert"}, "transformers has no segmentation network"),
        ({"model_type": "dpt"}, "DPTForSemanticSegmentation does not take images of any size"),
    ],
)
def test_a_segmenter_that_cannot_be_built_is_named(make_experiment, tmp_path, net, reason):
    experiment = make_experiment(tmp_path, {"train.segmenter.net": net})
    if "dpt" in str(net):  # a small one
        small = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
        own = {**net, **small, "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}
        experiment = make_experiment(tmp_path, {"train.segmenter.net": own})
    (problem,) = network_problems(experiment, ["segmenter"], 8)
    assert problem.startswith(f"train.segmenter.net: {reason}")


def test_a_network_that_cannot_be_built_without_memory_is_built_with_it(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, {"train.segmenter.net": "smp:Segformer/mit_b0"})
    assert network_problems(experiment, ["segmenter"], 8) == []
    assert sizes(experiment, "segmenter", 8).model == pytest.approx(4 * 3.7e6, rel=0.05)
