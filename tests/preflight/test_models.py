import pytest
import torchvision.models as tv

from qaclims_ray.config.experiment import load
from qaclims_ray.preflight import models, named_models
from qaclims_ray.preflight.check import artifacts_until


def test_models_are_looked_for_where_they_are_needed(make_experiment, tmp_path):
    nowhere = {
        "corpus.engine.model": "somebody/nothing",
        "model.clip.model": "ViT-nix",
        "model.backbone_weights": "/nowhere/resnet.pth",
    }
    experiment = make_experiment(tmp_path, nowhere)
    blip, clip = models.model_problems(experiment, ["corpus", "texts", "classifier"])
    assert blip.startswith("corpus.engine.model: 'somebody/nothing' is no file or folder here, nor")
    assert clip.startswith("model.clip.model: 'ViT-nix' is no file or folder here, nor a model of")
    assert models.model_problems(experiment, ["images", "cams"]) == []
    paths = models.model_paths(experiment, ["classifier"])
    assert paths == {"model.backbone_weights": "/nowhere/resnet.pth"}


@pytest.mark.parametrize(
    "weights", ["weights/ovseg.pth", "ovseg.pth", "./ovseg", "/weights/ovseg", "clip.safetensors"]
)
def test_weights_that_look_like_a_file_must_be_one(make_experiment, tmp_path, weights):
    overrides = {"model.clip": {"model": "ViT-L-14", "pretrained": weights}}
    experiment = make_experiment(tmp_path, {**overrides, "model.backbone_weights": weights})
    names = ["texts", "classifier"]
    assert models.model_problems(experiment, names) == []
    paths = models.model_paths(experiment, names)
    assert paths == {"model.clip.pretrained": weights, "model.backbone_weights": weights}


def test_a_tag_that_clip_lacks_is_said_with_those_there_are(make_experiment, tmp_path):
    overrides = {"model.clip": {"model": "ViT-L-14", "pretrained": "opnai"}}
    experiment = make_experiment(tmp_path, overrides)
    (problem,) = models.model_problems(experiment, ["cam_net"])
    assert problem.startswith("model.clip.pretrained: 'opnai' is no file or folder here, nor a tag")
    assert "of ViT-L-14, which are openai, " in problem


@pytest.mark.parametrize("weights", ["ResNet50_Weights.NONE", "NoNet_Weights.V1", "imagenot"])
def test_ids_that_torchvision_lacks_are_named(make_experiment, tmp_path, weights):
    experiment = make_experiment(tmp_path, {"model.backbone_weights": weights})
    (problem,) = models.model_problems(experiment, ["classifier"])
    assert problem.startswith(f"model.backbone_weights: {weights!r} is no file or folder here, nor")


def test_weights_of_torchvision_are_fetched_or_there_already(
    make_experiment, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(named_models, "urlopen", _refuse)
    overrides = {"model": {"backbone": "resnet50", "backbone_weights": "imagenet"}}
    experiment = make_experiment(tmp_path, overrides)
    (problem,) = models.model_problems(experiment, ["classifier"])
    assert "nor to be had from the network: no connection. Download it where there is" in problem
    kept = tmp_path / "torch" / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    (kept / tv.ResNet50_Weights.IMAGENET1K_V1.url.rpartition("/")[2]).touch()
    assert models.model_problems(experiment, ["classifier"]) == []


@pytest.mark.parametrize(
    ("overrides", "name", "repository"),
    [
        (
            {"model.clip": {"model": "ViT-L-14", "pretrained": "openai"}},
            "texts",
            "timm/vit_large_patch14_clip_224.openai",
        ),
        (
            {"model.backbone": "timm:resnet10t", "model.backbone_weights": "imagenet"},
            "classifier",
            "timm/resnet10t.c3_in1k",
        ),
    ],
)
def test_weights_of_the_hub_are_fetched_or_there_already(
    make_experiment, tmp_path, monkeypatch, overrides, name, repository
):
    asked = []
    monkeypatch.setattr(named_models, "model_info", lambda name, timeout: asked.append(name))
    monkeypatch.setattr(named_models, "HF_HUB_CACHE", str(tmp_path / "hub"))
    experiment = make_experiment(tmp_path, overrides)
    assert models.model_problems(experiment, [name]) == []
    assert asked == [repository]
    copy = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / "1"
    copy.mkdir(parents=True)
    (copy / "model.safetensors").touch()
    assert models.model_problems(experiment, [name]) == []
    assert asked == [repository]


def test_the_clip_of_the_cams_is_looked_for(make_experiment, tmp_path):
    nowhere = {"cams.kind": "clip", "cams.clip": {"model": "ViT-nix", "pretrained": "/no/a.pt"}}
    experiment = make_experiment(tmp_path, nowhere)
    (problem,) = models.model_problems(experiment, ["cams"])
    assert problem.startswith("cams.clip.model: 'ViT-nix' is no file or folder here, nor a model")
    for name in ("cam_texts", "cams", "scores"):
        paths = models.model_paths(experiment, [name])
        assert paths == {"cams.clip.pretrained": "/no/a.pt"}
    by_network = experiment.with_overrides({"cams.kind": "network"})
    assert models.model_problems(by_network, ["cams", "scores"]) == []


@pytest.mark.parametrize(
    ("model", "tower"), [("RN50", "ModifiedResNet"), ("coca_ViT-B-32", "attentional pooling")]
)
def test_a_clip_without_a_plain_transformer_is_refused(make_experiment, tmp_path, model, tower):
    own = {"cams.kind": "clip", "cams.clip": {"model": model, "pretrained": "weights/own.pt"}}
    experiment = make_experiment(tmp_path, own)
    (problem,) = models.model_problems(experiment, ["cams"])
    assert problem.startswith(
        "cams.clip.model: CLIP CAMs need open_clip's plain vision transformer"
    )
    assert tower in problem
    vit = experiment.with_overrides({"cams.clip.model": "ViT-B-16"})
    assert models.model_problems(vit, ["cams"]) == []


def _refuse(*_, **__):
    raise OSError("no connection")


def test_the_boundary_network_has_weights_of_its_own_or_those_of_the_others(
    make_experiment, tmp_path
):
    shared = make_experiment(tmp_path, {"model.backbone_weights": "/shared/resnet.pth"})
    assert models.model_paths(shared, ["irn"]) == {"model.backbone_weights": "/shared/resnet.pth"}
    own = shared.with_overrides({"train.irn.backbone_weights": "/own/resnet.pth"})
    assert models.model_paths(own, ["irn"]) == {"train.irn.backbone_weights": "/own/resnet.pth"}
    other = shared.with_overrides({"train.irn.backbone": "resnet50"})
    assert models.model_paths(other, ["irn"]) == {}
    wrong = shared.with_overrides({"train.irn.backbone_weights": "imagenot"})
    (problem,) = models.model_problems(wrong, ["irn"])
    assert problem.startswith("train.irn.backbone_weights: 'imagenot' is no file or folder here")


@pytest.mark.parametrize("weights", ["/nowhere/net.pth", "net.safetensors", "./net"])
def test_a_segmenters_weights_may_be_files(make_experiment, tmp_path, weights):
    experiment = make_experiment(tmp_path, {"train.segmenter.weights": weights})
    assert models.model_problems(experiment, ["segmenter"]) == []
    assert models.model_paths(experiment, ["segmenter"]) == {"train.segmenter.weights": weights}
    assert models.model_paths(experiment, ["irn", "masks"]).keys() == {"model.backbone_weights"}


def test_a_segmenter_of_transformers_may_be_a_folder(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, {"train.segmenter.net": str(tmp_path)})
    assert models.model_paths(experiment, ["segmenter"]) == {"train.segmenter.net": str(tmp_path)}


@pytest.mark.parametrize(
    ("net", "weights", "repository"),
    [
        ("smp:DeepLabV3Plus/resnet50", "pretrained", "smp-hub/resnet50.imagenet"),
        ("smp:DeepLabV3Plus/resnet50", "swsl", "smp-hub/resnet50.swsl"),
        ("smp:DeepLabV3Plus/resnet50", "somebody/net", "somebody/net"),
        ("smp:Unet/tu-resnet10t", "pretrained", "timm/resnet10t.c3_in1k"),
        ("deeplabv2_resnet101", "somebody/net", "somebody/net"),
        ("somebody/segformer", "pretrained", "somebody/segformer"),
        ({"model_type": "segformer"}, "somebody/mit", "somebody/mit"),
    ],
)
def test_a_segmenters_weights_are_fetched_or_there_already(
    make_experiment, tmp_path, monkeypatch, net, weights, repository
):
    asked = []
    monkeypatch.setattr(named_models, "model_info", lambda name, timeout: asked.append(name))
    monkeypatch.setattr(named_models, "HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = {"train.segmenter.net": net, "train.segmenter.weights": weights}
    experiment = make_experiment(tmp_path, settings)
    copy = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / "1"
    copy.mkdir(parents=True)
    (copy / "config.json").touch()  # tells the network's layers, and is not its weights
    assert models.model_problems(experiment, ["segmenter"]) == []
    assert asked == [repository]
    (copy / "model.safetensors").touch()
    assert models.model_problems(experiment, ["segmenter"]) == []
    assert asked == [repository]


def test_deeplabs_weights_are_torchvisions(make_experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(named_models, "urlopen", _refuse)
    for weights in ("pretrained", "imagenet", "ResNet101_Weights.IMAGENET1K_V1"):
        settings = {"net": "deeplabv2_resnet101", "weights": weights}
        experiment = make_experiment(tmp_path, {"train.segmenter": settings})
        (problem,) = models.model_problems(experiment, ["segmenter"])
        assert problem.startswith(f"train.segmenter.weights: {weights!r} is no file or folder")
        assert "nor to be had from the network: no connection" in problem


@pytest.mark.parametrize(
    ("net", "weights", "reason"),
    [
        ("smp:Unet/resnet18", "imagenot", "nor weights of resnet18, which are imagenet, "),
        ("smp:Unet/tu-resnet10t", "swsl", "nor weights of tu-resnet10t, which are pretrained"),
        ("deeplabv2_resnet101", "NoNet_Weights.V1", "nor 'imagenet', nor weights of torchvision"),
        ({"model_type": "segformer"}, "pretrained", "nor has a configuration any"),
    ],
)
def test_a_segmenters_weights_that_there_are_not(make_experiment, tmp_path, net, weights, reason):
    settings = {"train.segmenter.net": net, "train.segmenter.weights": weights}
    (problem,) = models.model_problems(make_experiment(tmp_path, settings), ["segmenter"])
    assert problem.startswith(f"train.segmenter.weights: {weights!r} is no file or folder here, ")
    assert reason in problem


def test_weights_of_pixel_masks_are_refused_before_anything_starts(make_experiment, tmp_path):
    net = "deeplabv2_resnet101"
    weights = "DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1"
    experiment = make_experiment(tmp_path, {"train.segmenter": {"net": net, "weights": weights}})
    (problem,) = models.supervision_problems(experiment, ["masks", "segmenter"])
    assert problem.startswith(f"train.segmenter.weights: {weights!r} were trained with pixel masks")
    assert models.supervision_problems(experiment, ["masks"]) == []
    allowed = {"train.segmenter.pixel_supervised_weights": True}
    assert models.supervision_problems(experiment.with_overrides(allowed), ["segmenter"]) == []
    absent = experiment.with_overrides({"train.segmenter.weights": "/nowhere/net.pth"})
    assert models.supervision_problems(absent, ["segmenter"]) == []


class ConnectError(Exception):
    """As of the Hub's HTTP client: no OSError, and maybe without a text."""


def _unreachable(text):
    def raise_it(*_, **__):
        raise ConnectError(text)

    return raise_it


@pytest.mark.parametrize("text", ["[Errno -2] Name or service not known", ""])
def test_without_a_connection_all_missing_models_are_listed_and_nothing_else_is_said(
    monkeypatch, tmp_path, capfd, text
):
    monkeypatch.setattr(named_models, "model_info", _unreachable(text))
    monkeypatch.setattr(named_models, "urlopen", _refuse)
    monkeypatch.setattr(named_models, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    experiment = load("voc12")
    problems = models.model_problems(experiment, artifacts_until("", experiment))
    assert [problem.split(":")[0] for problem in problems] == [
        "corpus.engine.model",
        "model.clip.pretrained",
        "model.backbone_weights",
        "train.segmenter.weights",
    ]
    assert all("nor to be had from the network: " in problem for problem in problems)
    assert f"network: {text or 'ConnectError'}." in problems[0]
    assert capfd.readouterr() == ("", "")


def test_a_segmenter_whose_layers_are_on_the_hub_is_not_built_without_a_connection(
    make_experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(named_models, "model_info", _unreachable("no connection"))
    monkeypatch.setattr(named_models, "HF_HUB_CACHE", str(tmp_path / "hub"))
    names = ["classifier", "segmenter"]
    settings = {"train.segmenter.net": "somebody/segformer", "train.segmenter.weights": None}
    experiment = make_experiment(tmp_path, settings)
    problems = models.model_problems(experiment, names)
    assert problems[0].startswith("train.segmenter.net: 'somebody/segformer' is no file or folder")
    assert models.without_unreachable_nets(names, problems) == ["classifier"]
    copy = tmp_path / "hub" / "models--somebody--segformer" / "snapshots" / "1"
    copy.mkdir(parents=True)
    (copy / "config.json").touch()
    assert models.model_problems(experiment, names) == []
    assert models.without_unreachable_nets(names, []) == names
