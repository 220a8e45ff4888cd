import torch

from qaclims_ray.train.classifier import classifier_loss


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
