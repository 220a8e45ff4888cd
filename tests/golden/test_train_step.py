"""A whole RITC step with a skipped pair: regions, losses, gradients, the optimiser's step."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from qaclims_ray.config.train import Loss, Optimiser, Ritc
from qaclims_ray.model.losses import area
from qaclims_ray.model.regions import region_views, select_pairs
from qaclims_ray.model.texts import PairFeatures
from qaclims_ray.train.optim import ParameterGroup, build_optimizer
from qaclims_ray.train.ritc import region_contrasts, ritc_losses


class StandIn(nn.Module):
    """The CAM network of the golden run."""

    def __init__(self, step):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.classifier = nn.Conv2d(8, 4, 1, bias=False)
        self.load_state_dict({n: step[f"init_{n}"] for n in self.state_dict()})

    def forward(self, images):
        return self.classifier(self.conv(images).relu())


@pytest.fixture(scope="module")
def step(golden):
    return golden("train_step")


@pytest.fixture(scope="module")
def clip(step, tiny_clip):
    return tiny_clip(step.meta["tiny_clip_config"])


@pytest.fixture(scope="module")
def texts(step):
    pairs = range(len(step.meta["pairs"]))
    foreground = torch.cat([step[f"pair{i}_fg_text"] for i in pairs])
    rows = [
        step[f"pair{i}_bg_text"] if f"pair{i}_bg_text" in step else foreground[:0] for i in pairs
    ]
    counts = torch.tensor([len(r) for r in rows])
    background = pad_sequence(rows, batch_first=True)
    present = torch.arange(background.shape[1]) < counts[:, None]
    return PairFeatures(foreground, background, present)


@pytest.fixture(scope="module")
def ritc(step):
    foreground, background, area = step.meta["hyper"]
    return Ritc(
        loss=Loss(foreground=foreground, background=background, area=area),
        temperature=step.meta["temperature"],
        alpha=step.meta["mask_adapter_alpha"],
    )


def losses_of(step, logits, texts, clip, ritc):
    return ritc_losses(logits, step["images"], step["labels"], texts, clip, ritc)


def check_gradient(actual, expected):
    """Relative to its largest entry, as the file's tolerances say."""
    assert (actual - expected).abs().max() <= 1e-3 * expected.abs().max()


def test_regions(step, clip):
    pairs = select_pairs(step["labels"])
    expected = [(p["image"], p["cls"]) for p in step.meta["pairs"]]
    assert list(zip(*(index.tolist() for index in pairs), strict=True)) == expected
    regions = region_views(step["x"], step["images"], pairs, clip.image_size, 0.1)
    for actual, key in zip(regions, ("fg_img", "bg_img", "fg_mask", "bg_mask"), strict=True):
        step.check(actual, key)
    step.check(clip.encode_regions(regions.foreground, regions.foreground_mask), "fg_feat")
    step.check(clip.encode_regions(regions.background, regions.background_mask), "bg_feat")


def test_losses_and_gradient(step, texts, clip, ritc):
    logits = step["logits"].requires_grad_()
    losses = losses_of(step, logits, texts, clip, ritc)
    terms = [losses.foreground, losses.background, losses.area, losses.total]
    step.check(torch.stack(terms)[None], "losses")
    assert losses.num_pairs == 5
    losses.total.backward()
    check_gradient(logits.grad, step["grad_logits"])


def test_gradient_with_respect_to_the_cam(step, texts, clip, ritc):
    cams = step["x"].requires_grad_()
    settings = {"temperature": ritc.temperature, "alpha": ritc.alpha}
    frc, brc = region_contrasts(cams, step["images"], step["labels"], texts, clip, **settings)
    weights = ritc.loss
    total = weights.foreground * frc.sum() + weights.background * brc.sum()
    (total + weights.area * area(cams)).backward()
    check_gradient(cams.grad, step["grad_x"])


def test_optimiser_step(step, texts, clip, ritc):
    net = StandIn(step)
    optimiser = Optimiser(
        learning_rate=step.meta["lr"][0][0],
        momentum=step.meta["momentum"],
        weight_decay=step.meta["weight_decay"],
    )
    head = ParameterGroup(net.classifier.parameters(), optimiser.head_lr_multiplier)
    optimizer = build_optimizer([ParameterGroup(net.conv.parameters()), head], optimiser)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(step.meta["lr"][0])
    losses_of(step, net(step["images"]), texts, clip, ritc).total.backward()
    optimizer.step()
    for name, value in net.state_dict().items():
        step.check(value, f"after_{name}")
