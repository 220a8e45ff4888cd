"""What is said of regions and of whole images of the demo world: captions as noisy as the web's."""

import random
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.demo.pretrain.regions import Regions
from qaclims_ray.demo.words import ANSWER_WORDS, OBJECTS, SCENES
from qaclims_ray.demo.world import Example

_SHARE_OBJECTS, _SHARE_STUFFS = 0.5, 0.4
"""How much objects and stuffs count among an image's words; its scene has the rest."""

_PROB_ABSENT_OBJECT, _PROB_SCENE_WORD = 0.25, 0.1
"""How often a view of the background is captioned with the image's object or its scene."""


def draw_captions(rng: random.Random, examples: Sequence[Example], regions: Regions) -> list[str]:
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


def word_shares(examples: Sequence[Example]) -> Float[Tensor, "N words"]:
    """How much each of `ANSWER_WORDS` is the right one for each whole image; rows sum to 1.

    Objects share their part by visible pixels; half of it goes to the class name, the rest to the
    other names of the object.
    """
    shares = torch.zeros(len(examples), len(ANSWER_WORDS))
    for row, example in zip(shares, examples, strict=True):
        for word, share in _named(example):
            row[ANSWER_WORDS.index(word)] += share
    return shares


def _named(example: Example) -> Iterator[tuple[str, float]]:
    visible = [int(item.visible.sum()) for item in example.objects]
    for item, pixels in zip(example.objects, visible, strict=True):
        entry, share = OBJECTS[item.class_name], _SHARE_OBJECTS * pixels / sum(visible) / 2
        names = (*entry.kinds[item.kind], entry.alias)
        yield item.class_name, share
        yield from ((name, share / len(names)) for name in names)
    yield from ((stuff, _SHARE_STUFFS / 2) for stuff in (example.top, example.bottom))
    scenes = SCENES[example.scene][:3]
    yield from ((word, (1 - _SHARE_OBJECTS - _SHARE_STUFFS) / len(scenes)) for word in scenes)
