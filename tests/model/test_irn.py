import pytest
import torch

from qaclims_ray.model import irn

RADIUS = 3


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return irn.build_irn("small_resnet")


def _images(*size):
    return torch.randn(*size, generator=torch.manual_seed(1))


def test_output_has_the_stride_of_the_stem(net):
    for height, width in ((64, 64), (75, 101)):
        edge, displacement = net(_images(2, 3, height, width))
        assert edge.shape == (2, 1, (height - 1) // 4 + 1, (width - 1) // 4 + 1)
        assert displacement.shape == (2, 2, *edge.shape[2:])


def test_backbone_stays_fixed_in_train_mode(net):
    net.train()
    assert not any(module.training for module in net.backbone.modules())
    before = net.backbone.bn1.running_mean.clone()
    net(_images(2, 3, 32, 32)).edge.sum().backward()
    assert torch.equal(net.backbone.bn1.running_mean, before)
    assert all(parameter.grad is None for parameter in net.backbone.parameters())


def test_parameter_groups_hold_all_that_trains(net):
    groups = [parameter for group in net.parameter_groups() for parameter in group]
    trained = {id(p) for p in net.parameters() if p.requires_grad}
    assert {id(parameter) for parameter in groups} == trained
    assert len(groups) == len(trained)


def test_losses_train_every_parameter(net):
    net.train().zero_grad()
    relations = net(_images(2, 3, 48, 48))
    seeds = torch.arange(2 * 12 * 12).view(2, 12, 12) // 6 % 3
    irn.irn_losses(relations, seeds, RADIUS).total().backward()
    for group in net.parameter_groups():
        assert all(parameter.grad.abs().sum() > 0 for parameter in group)


def _relations(edge, displacement):
    return irn.Relations(edge[None, None].logit(), displacement[None])


def test_losses_of_a_perfect_answer_are_almost_nothing():
    seeds = torch.tensor([[1, 1, 1, 0, 0, 0]] * 6)
    edge = torch.full((6, 6), 1e-6)
    edge[:, 2:4] = 1 - 1e-6
    # All of the object points to its centre (row 2, column 1); the background points nowhere.
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    field = torch.stack([2.0 - rows, 1.0 - columns]) * (seeds == 1)
    losses = irn.irn_losses(_relations(edge, field), seeds[None], radius=2)
    assert losses.negative < 1e-4
    assert losses.foreground == 0
    assert losses.background == 0


def test_displacement_errors_are_means_over_both_axes():
    seeds = torch.ones(1, 5, 5, dtype=torch.int64)
    losses = irn.irn_losses(_relations(torch.full((5, 5), 0.5), torch.zeros(2, 5, 5)), seeds, 2)
    # Mean of |y| and |x| over the ends (0, 1), (1, 0), (1, -1), (1, 1).
    torch.testing.assert_close(losses.foreground, torch.tensor(6 / 8))
    torch.testing.assert_close(
        losses.positive, torch.tensor(0.5).log().neg() / 2, atol=1e-4, rtol=0
    )


def test_seeds_without_certainty_give_zero_loss_and_zero_gradient():
    edge = torch.zeros(1, 1, 6, 6, requires_grad=True)
    seeds = torch.full((1, 6, 6), 255)
    total = irn.irn_losses(irn.Relations(edge, torch.zeros(1, 2, 6, 6)), seeds, RADIUS).total()
    total.backward()
    assert total == 0
    assert (edge.grad == 0).all()


def test_losses_in_bfloat16_are_finite():
    edge = torch.full((1, 1, 6, 6), -40, dtype=torch.bfloat16, requires_grad=True)
    seeds = torch.tensor([[[0, 0, 0, 1, 1, 1]] * 6])
    field = torch.zeros(1, 2, 6, 6, dtype=torch.bfloat16)
    total = irn.irn_losses(irn.Relations(edge, field), seeds, RADIUS).total()
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(edge.grad).all()


def test_ignored_cells_are_in_no_pair():
    seeds = torch.tensor([[[0, 255, 1, 1, 0, 0]] * 3])
    background, foreground, different = irn.pair_labels(seeds, radius=2)
    pairs = background.int() + foreground.int() + different.int()
    # Sources are columns 1 to 4; ends lie right, below, below left, below right.
    expected = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]])
    assert torch.equal(pairs[0, :, 0], expected)


def test_mean_displacement_counts_in_eval_mode_only():
    shift = irn.MeanShift(2)
    shift.running_mean.copy_(torch.tensor([0.5, -1.0]))
    field = torch.zeros(1, 2, 1, 1)
    assert torch.equal(shift.train()(field), field)
    assert shift.eval()(field).flatten().tolist() == [-0.5, 1.0]


def test_prediction_of_a_mirror_image_is_mirrored(net):
    net.eval()
    images = _images(1, 3, 64, 64)
    edge = irn.predict_relations(net, images).edge
    mirrored = irn.predict_relations(net, images.flip(-1)).edge
    torch.testing.assert_close(mirrored.flip(-1), edge)
    assert ((edge >= 0) & (edge <= 1)).all()


def test_prediction_of_a_batch_is_that_of_each_image(net):
    net.eval()
    images = _images(3, 3, 40, 52)
    together = irn.predict_relations(net, images)
    for index in range(3):
        alone = irn.predict_relations(net, images[index : index + 1])
        torch.testing.assert_close(together.edge[index], alone.edge[0])
        torch.testing.assert_close(together.displacement[index], alone.displacement[0])
