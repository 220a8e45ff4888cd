import numpy as np
import pyarrow as pa
import pytest
import torch

from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.storage.files import read_json
from qaclims_ray.train.classifier import ClassifierTask, classifier_loss, rarity
from qaclims_ray.train.sets import WholeSet


def test_loss_is_the_mean_binary_cross_entropy_of_the_pooled_maps():
    logits = torch.tensor([[[[1.0, 3.0]], [[-2.0, 0.0]]]])
    labels = torch.tensor([[1.0, 0.0]])
    expected = -(torch.tensor(2.0).sigmoid().log() + torch.tensor(1.0).sigmoid().log()) / 2
    torch.testing.assert_close(classifier_loss(logits, labels), expected)


def test_saturated_bfloat16_logits_are_finite():
    logits = torch.full((2, 3, 2, 2), 1e4, dtype=torch.bfloat16, requires_grad=True)
    loss = classifier_loss(logits, torch.zeros(2, 3))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


LABELS = [[0], [0], [0], [0, 1], [], [2], [2]]
RARITY = [1.0, 4.0, 2.0, 1.0]


def test_weights_count_the_images_that_show_a_class_alone():
    logits, weights = torch.randn(3, 2, 1, 1), torch.tensor([1.0, 4.0])
    labels = torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[..., 0, 0], labels, reduction="none"
    )
    expected = (each * torch.where(labels > 0, weights, 1.0)).mean()
    torch.testing.assert_close(classifier_loss(logits, labels, weights), expected)
    ones = torch.ones(2)
    torch.testing.assert_close(
        classifier_loss(logits, labels, ones), classifier_loss(logits, labels)
    )


@pytest.fixture
def task(make_experiment, png, tmp_path):
    """A task on seven images, whose last class no image shows; image 3 shows two classes."""

    def make(balance):
        experiment = make_experiment(tmp_path, {"train.classifier.balance": balance})
        noise = np.random.default_rng(0).integers(0, 256, (len(LABELS), 32, 32, 3), np.uint8)
        rows = {"name": list("abcdefg"), "image": [png(one) for one in noise], "labels": LABELS}
        data = WholeSet(pa.table(rows), ("cat", "dog", "fox", "owl"))
        return ClassifierTask(experiment, data, torch.device("cpu")), experiment

    return make


def test_an_image_comes_as_often_as_its_rarest_class_is_rare(task):
    made, _ = task("sampling")
    assert made.shares().tolist() == [1, 1, 1, 4, 1, 2, 2]
    assert rarity(torch.tensor([2.0, 0])).tolist() == [1, 1]
    for balance in ("none", "weights"):
        assert task(balance)[0].shares() is None


def test_the_network_is_ranked_by_class_on_images_of_its_training(task):
    made, experiment = task("none")
    net = made.network().eval()
    with torch.no_grad():
        made.finish(net)
    folder = own_artifact(experiment, "classifier").uri
    found = read_json(f"{folder}/average_precision.json")
    assert found["num_images"] == len(LABELS)
    assert found["of_class"]["owl"] is None
    assert all(0 < found["of_class"][name] <= 1 for name in ("cat", "dog", "fox"))
