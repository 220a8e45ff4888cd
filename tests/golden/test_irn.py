"""Path indices, affinities, the random walk, and the boundary network with its losses."""

import zlib

import numpy as np
import pytest
import torch

from qaclims_ray.model import affinity, irn, irn_losses

RADIUS = 4
"""Of the golden losses."""


@pytest.fixture(scope="module")
def data(golden):
    return golden("irn")


@pytest.fixture(scope="module")
def net(data, filler):
    net = irn.build_irn("resnet50")
    filled = filler.fill_module(net, _canonical)
    canonical = data.meta["state_dict"]["canonical"]
    structural = {"disp_target", "mean_shift.running_mean", "fc_dp7.4.running_mean"}
    assert set(filled) | structural >= {k for k in canonical if not k.startswith("path_indices")}
    return net


def _canonical(name):
    kind, _, rest = name.partition(".")
    if kind == "backbone":
        return f"resnet50.{rest}"
    index, _, rest = rest.partition(".")
    return f"fc_{kind.removesuffix('_layers')}{int(index) + 1}.{rest}"


def _crc32(indices):
    return zlib.crc32(np.ascontiguousarray(indices, dtype=np.int64).tobytes())


@pytest.mark.parametrize("case", range(4))
def test_path_indices(data, case):
    expected = data.meta["path_index"][case]
    radius, (height, width) = expected["radius"], expected["size"]
    paths = affinity.search_paths(radius)
    cells = torch.arange(height * width).view(height, width)
    ends = [path[0] for path in paths]
    np.testing.assert_array_equal(ends, data.arrays[expected["key"] + "_search_dst"])
    assert _crc32(affinity.shifted(cells, [(0, 0)], radius)) == expected["src_crc32_int64"]
    assert _crc32(affinity.shifted(cells, ends, radius)) == expected["dst_crc32_int64"]
    lengths = sorted({len(path) for path in paths})
    groups = [[path for path in paths if len(path) == length] for length in lengths]
    assert [_crc32(group) for group in groups] == expected["search_paths_crc32_int64"]
    indices = [
        torch.stack([affinity.shifted(cells, path, radius) for path in group]) for group in groups
    ]
    assert [_crc32(group) for group in indices] == expected["path_indices_crc32_int64"]


def test_affinities(data):
    actual = affinity.affinities(data["edge"], radius=5)[0].flatten(1)
    torch.testing.assert_close(actual[:, ::7], data["affinity_unpadded_r5"], rtol=0, atol=0)


def test_pair_weights(data):
    dense = affinity.weights(data["edge"][0], radius=5, beta=1.0).to_dense()
    torch.testing.assert_close(dense[data["dense_aff_rows_idx"]], data["dense_aff_rows"])
    expected = data.meta["dense_aff"]
    assert torch.equal(dense, dense.T)
    assert (dense.diagonal() == 1).all()
    assert dense.max() == expected["max"]
    assert int((dense != 0).sum()) == expected["nnz"]


def test_steps_of_the_walk(data):
    dense = affinity.weights(data["edge"][0], radius=5, beta=10.0).to_dense()
    steps = (dense / dense.sum(0))[:, data["dense_aff_rows_idx"]]
    torch.testing.assert_close(steps, data["trans0_cols"])


@pytest.mark.parametrize("key", ["b10_t8_r5", "b10_t3_r5", "b8_t8_r5", "b10_t8_r3"])
def test_random_walk(data, key):
    beta, exp_times, radius = (int(part[1:]) for part in key.split("_"))
    actual = affinity.random_walk(
        data["cam"], data["edge"][0], radius=radius, beta=float(beta), exp_times=exp_times
    )
    _close_to_maximum(actual, data["rw_" + key][:, 0])


def test_random_walk_in_float64(data):
    actual = affinity.random_walk(data["cam"], data["edge"][0])
    _close_to_maximum(actual, data["rw_b10_t8_r5_f64matrix"][:, 0])


def _close_to_maximum(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-3 * float(expected.max()))


def test_pair_labels(data):
    labels = irn_losses.pair_labels(data["seg"], RADIUS)
    for actual, key in zip(labels, ("bg_pos", "fg_pos", "neg"), strict=True):
        assert torch.equal(actual.flatten(2).byte(), data[key])


def test_losses_and_gradients(data, net):
    net.train()
    net.zero_grad()
    relations = net(data["irn_x"])
    torch.testing.assert_close(relations.edge, data["edge_out"], rtol=0, atol=1e-4)
    torch.testing.assert_close(relations.displacement, data["dp_out"], rtol=1e-4, atol=1e-4)
    losses = irn_losses.irn_losses(relations, data["seg"], RADIUS)
    total, background, foreground, *others = losses
    published = torch.stack([(background + foreground) / 2, *others, total])
    torch.testing.assert_close(published, data["irn_losses"], rtol=1e-4, atol=0)
    total.backward()
    for layer, key in (
        (net.edge_layers[5], "grad_fc_edge6"),
        (net.dp_layers[6][3], "grad_fc_dp7_3"),
        (net.edge_layers[0][0], "grad_fc_edge1_0"),
    ):
        torch.testing.assert_close(layer.weight.grad, data[key], rtol=1e-4, atol=1e-6)
    gradients = {_canonical(name): p.grad for name, p in net.named_parameters()}
    norms = torch.stack([gradients[name].norm() for name in data.meta["grad_names"]])
    torch.testing.assert_close(norms, data["grad_norms"], rtol=1e-4, atol=0)


def test_losses_of_each_pair(data, net):
    relations = net.train()(data["irn_x"])
    losses = irn_losses.pair_losses(relations, RADIUS)
    attract, repel, astray, moved = (x.flatten(-2) for x in losses)
    for actual, key in (
        (attract[:, ::5], "pos_aff"),
        (repel[:, ::5], "neg_aff"),
        (astray[:, :, ::5, ::3], "dp_fg"),
        (moved[:, :, ::5, ::3], "dp_bg"),
    ):
        # Displacements are of order 1; where two are nearly equal, their difference is rounding.
        torch.testing.assert_close(actual.detach(), data[key], rtol=1e-4, atol=1e-5)


def test_parameter_groups(data, net):
    names = {id(p): _canonical(name) for name, p in net.named_parameters()}
    groups = [[names[id(p)] for p in group] for group in net.parameter_groups()]
    assert groups == [data.meta["param_group_0_lr1"], data.meta["param_group_1_lr10"]]


def test_prediction(data, net):
    net.eval()
    _set_mean(net, data.meta["mean_shift_running_mean_used_for_EdgeDisplacement"])
    edge, displacement = irn.predict_boundaries(net, data["odd"])
    torch.testing.assert_close(edge, data["ed_edge_odd"], rtol=0, atol=1e-4)
    torch.testing.assert_close(displacement[0], data["ed_dp_odd"], rtol=1e-4, atol=1e-4)
    displacement = irn.predict_boundaries(net, data["irn_x"]).displacement
    torch.testing.assert_close(displacement[0], data["ed_dp_64"], rtol=1e-4, atol=1e-4)


def test_prediction_of_two_given_views(data, net):
    """The published function takes any two images for the image and its flip."""
    logits = net.eval()(data["irn_x"]).edge
    edge = (logits[0] / 2 + logits[1].flip(-1) / 2).sigmoid()
    torch.testing.assert_close(edge, data["ed_edge_64"], rtol=0, atol=1e-4)


def _set_mean(net, mean):
    net.mean_shift.running_mean.copy_(torch.tensor(mean))
