"""Trains the tiny mask-prompted CLIP on soft regions of the demo world."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from qaclims_ray.demo.pretrain.fit import MEAN, STD, fit, normalise, shuffled_batches, stack_pixels
from qaclims_ray.demo.words import ANSWER_WORDS, CLASSES, OBJECTS, SCENES
from qaclims_ray.demo.world import SIZE, Example
from qaclims_ray.model.clip import PROMPT, MaskPromptedClip
from qaclims_ray.model.new_clip import new_clip

CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": 4,
        "width": 96,
        "head_width": 24,
        "patch_size": 12,
    },
    "text_cfg": {"context_length": 10, "width": 96, "heads": 4, "layers": 2},
}
"""open_clip's configuration of the tiny CLIP; `new_clip` adds the size of the vocabulary."""
MASK_PROMPT_DEPTH = 3
_MAX_SCALE = 30.0
"""Largest inverse temperature of the image-text contrast."""

_PROB_ABSENT_OBJECT, _PROB_SCENE_WORD = 0.25, 0.1
"""How often a view of the background is captioned with the image's object or its scene."""

Content = UInt8[Tensor, "B H W"]
"""What each pixel shows: 0 and 1 the objects, 2 the upper stuff, 3 the lower stuff."""
_NUM_CONTENTS = 4


class Regions(NamedTuple):
    """Soft regions as CAMs make them during training."""

    soft: Float[Tensor, "B 1 H W"]
    """What the image is multiplied with, in [0, 1]."""
    mask: Float[Tensor, "B 1 H W"]
    """1 where CLIP is to look."""
    weights: Float[Tensor, "B 4"]
    """How much of each content the region shows."""
    brightness: Float[Tensor, "B"]
    """Largest possible value of `soft`."""


def pretrain_clip(
    examples: Sequence[Example], *, num_steps: int, seed: int, batch_size: int = 96
) -> MaskPromptedClip:
    """A CLIP that tells what a soft, possibly dimmed region of an image shows.

    The regions imitate those of CAMs in training: the object roughly, parts of it, its complement,
    random blobs; some with light left outside, many dimmed. A caption is drawn with a probability
    that grows with the squared light on its content, so that similarity follows the CAM's values;
    dark views get arbitrary captions, so that darkness itself means nothing.

    Some captions of a background name the object that stood before it. With `examples` of which
    many show a class in its home scene, "boat" is then a little like water, as for a CLIP that
    learnt from the web: the reason why backgrounds must be named to be told from the object.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    clip = new_clip(
        CONFIG,
        texts=[PROMPT.format(word) for word in ANSWER_WORDS],
        mask_prompt_depth=MASK_PROMPT_DEPTH,
        image_mean=MEAN,
        image_std=STD,
    )
    torch.nn.init.constant_(clip.clip.logit_scale, 2.3)
    pixels, content = stack_pixels(examples), stack_contents(examples)
    batches = shuffled_batches(rng, len(examples), batch_size)

    def draw_loss() -> Tensor:
        batch = next(batches)
        regions = draw_regions(content[batch])
        captions = _draw_captions(rng, [examples[index] for index in batch], regions)
        return contrast(clip, normalise(pixels[batch]) * regions.soft, regions.mask, captions)

    fit(clip, draw_loss, num_steps=num_steps, learning_rate=1e-3, title="CLIP")
    return clip


def contrast(
    clip: MaskPromptedClip,
    views: Float[Tensor, "B 3 H W"],
    masks: Float[Tensor, "B 1 H W"],
    captions: Sequence[str],
) -> Float[Tensor, ""]:
    """Each view against the unique captions of the batch, and, at weight 0.3, the reverse."""
    unique = sorted(set(captions))
    target = torch.tensor([unique.index(caption) for caption in captions])
    features = F.normalize(clip.encode_regions(views, masks), dim=-1)
    scale = clip.clip.logit_scale.exp().clamp(max=_MAX_SCALE)
    logits = scale * features @ clip.encode_texts(unique).T
    shares = F.one_hot(target, len(unique)).float()
    shares = shares / shares.sum(dim=0, keepdim=True)
    to_image = -(shares * F.log_softmax(logits, dim=0)).sum(dim=0).mean()
    return F.cross_entropy(logits, target) + 0.3 * to_image


def stack_contents(examples: Sequence[Example]) -> Content:
    """The content of each pixel of each image."""
    return torch.stack([_content(example) for example in examples])


def _content(example: Example) -> UInt8[Tensor, "96 96"]:
    content = torch.where(torch.from_numpy(example.is_top), 2, 3).to(torch.uint8)
    for number, item in enumerate(example.objects):
        content[torch.from_numpy(item.visible)] = number
    return content


def draw_regions(content: Content) -> Regions:
    """One random soft region for each image."""
    num = len(content)
    shows = F.one_hot(content.long(), _NUM_CONTENTS).movedim(-1, 1).float()
    shapes = _draw_shapes(shows)
    odds = torch.tensor([0.25, 0.10, 0.25, 0.10, 0.10, 0.08, 0.07, 0.05])
    soft = shapes[torch.arange(num), torch.multinomial(odds, num, replacement=True)]
    floor = 0.6 * torch.rand(num, 1, 1, 1) * _coin(num, 0.6)
    soft = floor + (1 - floor) * soft
    brightness = torch.where(_coin(num, 0.3) > 0, 1.0, 0.15 + 0.85 * torch.rand(num, 1, 1, 1))
    mask = (soft >= 0.1 * soft.amax(dim=(2, 3), keepdim=True)).float()
    mask = torch.maximum(mask, _coin(num, 0.15))
    weights = (shows * soft.square() * mask).sum(dim=(2, 3))
    return Regions(soft * brightness, mask, weights, brightness.flatten())


def _draw_shapes(shows: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B 8 1 H W"]:
    """The eight shapes that a region may have, for each image."""
    images = torch.arange(len(shows))
    second = (shows[:, 1].sum(dim=(1, 2)) > 0) & (torch.rand(len(shows)) < 0.5)
    item = shows[images, second.long()][:, None]
    stuff = shows[images, torch.randint(2, 4, (len(shows),))][:, None]
    objects = shows[:, :2].sum(dim=1, keepdim=True)
    rough = torch.where(_coin(len(shows), 0.3) > 0, item, _blurred(item))
    blob = _draw_blobs(len(shows))
    shapes = [
        rough,
        rough * blob,
        1 - rough,
        stuff * (1 - 0.9 * blob * objects),
        blob,
        1 - rough * blob,
        torch.maximum(rough, blob),
        torch.ones_like(rough),
    ]
    return torch.stack(shapes, dim=1)


def _coin(num: int, chance: float) -> Float[Tensor, "B 1 1 1"]:
    return (torch.rand(num, 1, 1, 1) < chance).float()


def _blurred(item: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """The object at the resolution of a CAM, grown or shrunk at random."""
    kernel = int(torch.randint(3, ()).item()) * 2 + 1
    coarse = F.avg_pool2d(item, 4)
    for _ in range(2):
        coarse = F.avg_pool2d(coarse, kernel, stride=1, padding=kernel // 2)
    gain = 0.8 + 3.2 * torch.rand(len(item), 1, 1, 1)
    return F.interpolate((coarse * gain).clamp(0, 1), size=(SIZE, SIZE), mode="bilinear")


def _draw_blobs(num: int) -> Float[Tensor, "B 1 96 96"]:
    cells = (3, 4, 6, 8)[int(torch.randint(4, ()).item())]
    contrast = 2.0 ** int(torch.randint(1, 4, ()).item())
    coarse = torch.randn(num, 1, cells, cells)
    smooth = F.interpolate(coarse, size=(24, 24), mode="bicubic", align_corners=True)
    soft = torch.sigmoid(smooth * contrast + 1.5 * torch.randn(num, 1, 1, 1))
    return F.interpolate(soft, size=(SIZE, SIZE), mode="bilinear")


def _draw_captions(rng: random.Random, examples: Sequence[Example], regions: Regions) -> list[str]:
    """A caption for each region; for a dark one, that of any image of the batch."""
    odds = regions.weights * torch.tensor([3.0, 3.0, 1.0, 1.0])
    chosen: list[int] = torch.multinomial(odds**1.3 + 1e-6, 1).flatten().tolist()
    captions = [
        _object_caption(rng, example, content)
        if content < len(example.objects)
        else _stuff_caption(rng, example, upper=content == 2)
        for example, content in zip(examples, chosen, strict=True)
    ]
    return [
        rng.choice(captions) if rng.random() < 0.8 * (1 - brightness) ** 2 else caption
        for caption, brightness in zip(captions, regions.brightness.tolist(), strict=True)
    ]


def _object_caption(rng: random.Random, example: Example, position: int) -> str:
    """The class name, one of the object's other names, or such a name before the class name."""
    item = example.objects[position]
    names = (*OBJECTS[item.class_name].kinds[item.kind], OBJECTS[item.class_name].alias)
    name = rng.choices(names, weights=(2, 1, 1))[0]
    if rng.random() < 0.25:
        return item.class_name
    plain = rng.random() < 0.5 or item.class_name in name
    return name if plain else f"{name} {item.class_name}"


def _stuff_caption(rng: random.Random, example: Example, *, upper: bool) -> str:
    """The stuff, or a word for the scene, or, as on the web, an object that is not in the view."""
    chance = rng.random()
    if chance < _PROB_ABSENT_OBJECT:
        return _object_caption(rng, example, rng.randrange(len(example.objects)))
    if chance > 1 - _PROB_SCENE_WORD:
        return rng.choice(SCENES[example.scene][:3])
    return example.top if upper else example.bottom


@torch.inference_mode()
def measure_clip(clip: MaskPromptedClip, examples: Sequence[Example]) -> dict[str, float]:
    """Accuracies on exact masks: class and kind of the first object, stuff of the background."""
    images, content = normalise(stack_pixels(examples)), stack_contents(examples)
    first, behind = (content == 0).float()[:, None], (content >= 2).float()[:, None]
    kinds = [kind.name for entry in OBJECTS.values() for kind in entry.kinds]
    stuffs = sorted({stuff for scene in SCENES.values() for stuff in scene.tops + scene.bottoms})
    items = [example.objects[0] for example in examples]
    named = _nearest(clip, images * first, first, CLASSES)
    kind = _nearest(clip, images * first, first, kinds)
    stuff = _nearest(clip, images * behind, behind, [*CLASSES, *stuffs])
    whole = _nearest(clip, images, None, CLASSES)
    true_kinds = [OBJECTS[item.class_name].kinds[item.kind].name for item in items]
    pairs = list(zip(stuff, examples, strict=True))
    return {
        "class of the object region": _accuracy(named, [item.class_name for item in items]),
        "kind of the object region": _accuracy(kind, true_kinds),
        "stuff of the background region": sum(s in (e.top, e.bottom) for s, e in pairs)
        / len(pairs),
        "class of the whole image": _accuracy(whole, [item.class_name for item in items]),
    }


def _nearest(
    clip: MaskPromptedClip, views: Tensor, masks: Tensor | None, texts: Sequence[str]
) -> list[str]:
    """The text most similar to each region."""
    scores = clip.encode_regions(views, masks) @ clip.encode_texts(texts).T
    return [str(texts[best]) for best in scores.argmax(dim=1).tolist()]


def _accuracy(found: Sequence[str], truth: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(found, truth, strict=True)) / len(truth)
