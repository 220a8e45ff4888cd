import copy
import inspect
import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.parallel import DistributedDataParallel

from qaclims_ray.config.train import Fit, Loss, Optimiser, Ritc
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.losses import background_contrast, foreground_contrast
from qaclims_ray.model.new_clip import new_clip
from qaclims_ray.model.regions import region_views, renormalise, select_pairs
from qaclims_ray.model.texts import PairFeatures
from qaclims_ray.train import ritc
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.optim import ParameterGroup, build_optimizer
from qaclims_ray.train.pairs import PairCounts, PairReader
from qaclims_ray.train.ritc import ritc_losses
from qaclims_ray.train.step import Step
from tests.waits import counted_waits

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 4},
    "text_cfg": {"context_length": 6, "width": 16, "heads": 2, "layers": 1},
}
NUM_TEXTS = 3


def make_clip(depth):
    torch.manual_seed(0)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    made = new_clip(CONFIG, texts=["sky"], mask_prompt_depth=depth, image_mean=mean, image_std=std)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=[0, 2], ids=["plain", "prompted"])
def clip(request):
    return make_clip(request.param)


def batch(seed, num_images=3, num_classes=4):
    generator = torch.manual_seed(seed)
    logits = torch.randn(num_images, num_classes, 4, 5, generator=generator, requires_grad=True)
    images = torch.randn(num_images, 3, 20, 24, generator=generator)
    labels = (torch.rand(num_images, num_classes, generator=generator) > 0.5).float()
    num_pairs = int(labels.sum())
    texts = PairFeatures(
        torch.randn(num_pairs, 8, generator=generator),
        torch.randn(num_pairs, NUM_TEXTS, 8, generator=generator),
        torch.rand(num_pairs, NUM_TEXTS, generator=generator) > 0.4,
    )
    return logits, images, labels, texts


def loop(logits, images, labels, texts, clip):
    """FRC and BRC summed over pairs, one pair and one view at a time."""
    cams, pairs = logits.sigmoid(), select_pairs(labels)
    frc = brc = torch.zeros(())
    for p in range(len(pairs.image)):
        one = type(pairs)(*(index[p : p + 1] for index in pairs))
        regions = region_views(cams, images, one, clip.image_size, 0.1)
        own = [part[p : p + 1] for part in texts]
        inside = clip.encode_regions(regions.foreground, regions.foreground_mask)
        outside = clip.encode_regions(regions.background, regions.background_mask)
        frc = frc + foreground_contrast(inside, *own, 0.7).sum()
        brc = brc + background_contrast(outside, *own, 0.7).sum()
    return frc, brc


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_batch_equals_a_loop_over_pairs(clip, seed):
    case = batch(seed)
    losses = ritc_losses(*case, clip)
    frc, brc = loop(*case, clip)
    torch.testing.assert_close(losses.foreground, frc.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses.background, brc.detach(), rtol=1e-4, atol=1e-4)
    area = case[0].sigmoid().mean()
    total = 10 * frc + 8 * brc + 0.2 * area
    torch.testing.assert_close(losses.total, total, rtol=1e-4, atol=1e-3)
    assert losses.num_pairs == case[3].present.any(dim=1).sum()
    assert losses.max_logit == case[0].max()


def test_the_order_of_images_changes_nothing(clip):
    logits, images, labels, texts = batch(1)
    order = torch.tensor([2, 0, 1])
    counts = labels.count_nonzero(dim=1).tolist()
    rows = torch.arange(len(texts.present)).split(counts)
    moved = torch.cat([rows[i] for i in order])
    other = PairFeatures(*(part[moved] for part in texts))
    one = ritc_losses(logits, images, labels, texts, clip)
    two = ritc_losses(logits[order], images[order], labels[order], other, clip)
    torch.testing.assert_close(one, two)


def test_the_divisor_divides_the_contrasts_alone(clip):
    case = batch(2)
    case[3].present[0] = False
    summed = ritc_losses(*case, clip)
    averaged = ritc_losses(*case, clip, divisor=float(summed.num_pairs))
    assert summed.num_pairs == len(case[3].present) - (~case[3].present.any(dim=1)).sum()
    torch.testing.assert_close(averaged.foreground * summed.num_pairs, summed.foreground)
    torch.testing.assert_close(averaged.background * summed.num_pairs, summed.background)
    assert averaged.area == summed.area


@pytest.mark.parametrize("divisor", [1.0, 0.0])
def test_without_pairs_only_the_area_counts_and_the_logits_get_gradients(clip, divisor):
    logits, images, labels, texts = batch(3)
    empty = PairFeatures(*(part[:0] for part in texts))
    losses = ritc_losses(logits, images, 0 * labels, empty, clip, divisor=divisor)
    losses.total.backward()
    assert losses.foreground == losses.background == losses.num_pairs == 0
    torch.testing.assert_close(losses.total, 0.2 * losses.area)
    assert (logits.grad > 0).all()


def test_pairs_without_background_texts_count_for_nothing(clip):
    logits, images, labels, texts = batch(4)
    none = PairFeatures(texts.foreground, texts.background[:, :0], texts.present[:, :0])
    losses = ritc_losses(logits, images, labels, none, clip, divisor=0.0)
    losses.total.backward()
    assert losses.foreground == losses.background == 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("value", [-200.0, 0.0, 200.0])
def test_constant_and_saturated_cams_are_finite(clip, value):
    _, images, labels, texts = batch(5)
    logits = torch.full((3, 4, 4, 5), value, requires_grad=True)
    losses = ritc_losses(logits, images, labels, texts, clip)
    losses.total.backward()
    assert losses.total.isfinite()
    assert logits.grad.isfinite().all()


def test_an_image_of_one_class_alone(clip):
    logits, images, _, texts = batch(6, num_images=1, num_classes=1)
    texts = PairFeatures(torch.ones(1, 8), torch.ones(1, 2, 8), torch.tensor([[True, True]]))
    losses = ritc_losses(logits, images, torch.ones(1, 1), texts, clip)
    torch.testing.assert_close(losses.foreground, torch.tensor(math.log(3)))
    torch.testing.assert_close(losses.background, torch.tensor(math.log(2)))


def test_bfloat16_autocast_in_channels_last_is_finite_and_near(clip):
    logits, images, labels, texts = batch(7)
    exact = ritc_losses(logits, images, labels, texts, clip)
    with torch.autocast("cpu", torch.bfloat16):
        images = images.to(memory_format=torch.channels_last)
        losses = ritc_losses(logits.bfloat16(), images, labels, texts, clip)
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert logits.grad.isfinite().all()
    torch.testing.assert_close(losses.total, exact.total, rtol=0.05, atol=0)


def test_clip_normalisation_gives_clip_its_own_images(clip):
    logits, images, labels, texts = batch(8)
    there = ritc_losses(logits, images, labels, texts, clip, clip_normalisation="clip")
    images = renormalise(images, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    expected = ritc_losses(logits, images, labels, texts, clip)
    torch.testing.assert_close(there, expected)


def test_both_views_of_all_pairs_are_one_forward_of_clip(clip, monkeypatch):
    calls = []
    encode = clip.encode_regions
    monkeypatch.setattr(clip, "encode_regions", lambda *a: calls.append(len(a[0])) or encode(*a))
    case = batch(9)
    ritc_losses(*case, clip)
    assert calls == [2 * int(case[2].sum())]


def test_weights_scale_the_terms(clip):
    case = batch(10)
    losses = ritc_losses(*case, clip, Ritc(loss=Loss(foreground=2, background=3, area=5)))
    expected = 2 * losses.foreground + 3 * losses.background + 5 * losses.area
    torch.testing.assert_close(losses.total.detach(), expected)


def test_the_defaults_are_the_papers_for_voc():
    defaults = inspect.signature(ritc_losses).parameters["settings"].default
    loss = defaults.loss
    assert (loss.foreground, loss.background, loss.area) == (10, 8, 0.2)
    assert (defaults.temperature, defaults.alpha) == (0.7, 0.1)


@pytest.fixture
def gloo(tmp_path):
    """A process group of this process alone."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("gloo")
def test_data_parallel_training_goes_on_after_a_batch_without_pairs():
    clip = make_clip(2)
    net = DistributedDataParallel(build_cam_net("small_resnet", 4))
    _, images, labels, texts = batch(11)
    empty = PairFeatures(*(part[:0] for part in texts))
    for kept, features in ((0, empty), (1, texts), (0, empty)):
        net.zero_grad()
        ritc_losses(net(images), images, kept * labels, features, clip).total.backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.gpu
def test_a_gpu_gives_the_same_losses(clip):
    logits, images, labels, texts = batch(12)
    there = copy.deepcopy(clip).to("cuda")
    features = PairFeatures(*(part.cuda() for part in texts))
    losses = ritc_losses(logits.cuda(), images.cuda(), labels.cuda(), features, there)
    expected = ritc_losses(logits, images, labels, texts, clip)
    for actual, value in zip(losses, expected, strict=True):
        torch.testing.assert_close(actual.cpu(), value, rtol=1e-3, atol=1e-4)


def _on_meta(clip):
    """A loss and its batch without numbers: to ask for one, or how many, is an error."""
    meta = torch.device("meta")
    _, images, labels, texts = batch(1)
    rows = [
        {
            "name": str(i),
            "pairs": [{"label": k, "foreground": ["x"], "background": ["y"]} for k in own],
        }
        for i, own in enumerate(label.nonzero()[:, 0].tolist() for label in labels)
    ]
    names = ("cat", "dog", "cow", "sky")
    texts = {text: number for number, text in enumerate([*names, "x", "y"])}
    loss = ritc.RitcLoss(
        copy.deepcopy(clip).to(meta),
        torch.zeros(len(texts), 8, device=meta),
        PairCounts(labels.sum(dim=1).long(), 1, 1),
        Ritc(),
        "clip",
    )
    read = PairReader(texts, names)
    own = Batch([], images, labels, torch.arange(3), torch.arange(3), 1.0, [*map(read, rows)])
    return loss, own.to(meta)


def test_the_loss_never_waits_for_a_device(clip):
    loss, own = _on_meta(clip)
    leaf = torch.zeros(3, 4, 4, 5, device="meta", requires_grad=True)
    loss(leaf, own)["total"].backward()
    assert leaf.grad.shape == leaf.shape


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_step_waits_for_its_device_once(clip, kind, monkeypatch):
    """For the scalars of its log; a gradient that is not finite is seen in the same transfer."""
    loss, own = _on_meta(clip)
    net = build_cam_net("small_resnet", 4).to("meta")
    optimiser = Optimiser(kind=kind, learning_rate=1e-3, max_grad_norm=5)
    fit = Fit(optimiser=optimiser, freeze_batch_norm=True)
    optimizer = build_optimizer([ParameterGroup(net.parameters())], optimiser)
    step = Step(net, loss, optimizer, fit, num_steps=4)
    monkeypatch.setattr(step, "_autocast", nullcontext)  # which knows no such device
    step._optimizer.zero_grad()
    for _ in range(2):
        with counted_waits("meta") as waits:
            step(own)
        assert waits == {"tolist": 1}
