import pytest
import torch
from transformers import SegformerConfig, SegformerForImageClassification

from qaclims_ray.model.transformers_net import encoder_of, transformers_net


@pytest.fixture
def classifier(segformer, tmp_path):
    """A folder with a classifier of images, as published encoders are."""
    options = {k: v for k, v in segformer.items() if k != "model_type"}
    SegformerForImageClassification(SegformerConfig(**options, num_labels=10)).save_pretrained(
        tmp_path
    )
    return str(tmp_path)


def _encoder(net):
    return net.get_submodule(encoder_of(net)).state_dict()


def test_a_configuration_has_random_weights(segformer):
    net = transformers_net(segformer, 5, weights=None)
    assert net.config.num_labels == 5
    assert net(torch.zeros(1, 3, 64, 64)).logits.shape == (1, 5, 16, 16)


def test_a_classifier_fills_the_encoder(classifier):
    source = SegformerForImageClassification.from_pretrained(classifier)
    net = transformers_net(classifier, 5, weights="pretrained")
    expected = source.segformer.state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in _encoder(net).items())
    assert net.config.num_labels == 5


def test_the_weights_may_be_those_of_another_folder(segformer, classifier):
    net = transformers_net(segformer, 5, weights=classifier)
    same = transformers_net(classifier, 5, weights="pretrained")
    assert all(torch.equal(v, _encoder(same)[n]) for n, v in _encoder(net).items())


def test_a_head_of_other_labels_starts_anew_and_the_rest_is_loaded(segformer, tmp_path):
    saved = transformers_net(segformer, 7, weights=None)
    saved.save_pretrained(tmp_path)
    net = transformers_net(str(tmp_path), 3, weights="pretrained")
    expected = saved.state_dict()
    differing = {n for n, v in net.state_dict().items() if v.shape != expected[n].shape}
    assert differing == {"decode_head.classifier.weight", "decode_head.classifier.bias"}
    assert all(
        torch.equal(v, expected[n]) for n, v in net.state_dict().items() if n not in differing
    )


def test_only_the_configuration_of_a_folder_counts_without_weights(classifier):
    torch.manual_seed(0)
    net = transformers_net(classifier, 5, weights=None)
    other = transformers_net(classifier, 5, weights="pretrained")
    assert any(not torch.equal(v, _encoder(other)[n]) for n, v in _encoder(net).items())


def test_auxiliary_heads_are_switched_off():
    config = {
        "model_type": "beit",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 64,
        "out_indices": [1, 2, 3, 4],
        "use_auxiliary_head": True,
    }
    net = transformers_net(config, 3, weights=None)
    assert not any("auxiliary" in name for name, _ in net.named_parameters())


def test_weights_of_another_encoder_are_an_error(segformer, classifier):
    deeper = {**segformer, "depths": [1, 1, 1, 2]}
    with pytest.raises(ValueError, match=r"do not fit: lacking .*segformer"):
        transformers_net(deeper, 5, weights=classifier)
    wider = {**segformer, "hidden_sizes": [8, 16, 24, 64]}
    with pytest.raises(ValueError, match=r"other shape .*segformer"):
        transformers_net(wider, 5, weights=classifier)


@pytest.mark.parametrize(
    "source",
    ["no/such", {"model_type": "segformers"}, {"model_type": "bert"}, {"depths": [1]}],
    ids=str,
)
def test_what_transformers_does_not_have_is_an_error(source):
    with pytest.raises(ValueError, match="transformers has no segmentation network"):
        transformers_net(source, 3, weights=None)
