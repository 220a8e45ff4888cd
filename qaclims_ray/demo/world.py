"""The demo world: small pictures with exact masks and exact answers to every question.

An image shows one or two objects before a scene of two stuffs, one above the other. In the
*unbiased* distribution objects and scenes are independent: the tiny models learn from it. In the
*biased* one a class is mostly seen in its home scene, so that image labels alone cannot tell the
object from its surroundings: the weakly supervised training set.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image as PilImage

from qaclims_ray.config.corpus import BACKGROUND_QUESTIONS, FOREGROUND_QUESTIONS
from qaclims_ray.demo.objects import draw_object
from qaclims_ray.demo.textures import Rng, draw_texture
from qaclims_ray.demo.words import CLASSES, OBJECTS, SCENES, STUFFS
from qaclims_ray.types import Image, LabelMap

SIZE = 96
"""Height and width of every image, in pixels."""
_FINE = 2
"""Objects are drawn this many times larger and averaged down."""
_MIN_VISIBLE = 60
"""Fewest visible pixels of an object; images with less are drawn anew."""
_PROB_HOME = 0.97
_PROB_SECOND, _PROB_SECOND_OTHER = 0.25, 0.05


@dataclass(frozen=True)
class Object:
    """One object: its class, its kind (position in the class's kinds) and its visible pixels."""

    class_name: str
    kind: int
    visible: Bool[np.ndarray, "96 96"]


@dataclass(frozen=True)
class Example:
    """One image of the world with all that is true about it."""

    image: Image
    label_map: LabelMap
    objects: tuple[Object, ...]
    scene: str
    """A key of `words.SCENES`."""
    stuff_map: UInt8[np.ndarray, "96 96"]
    """The stuff of each pixel, also behind the objects, as a position in `words.STUFFS`."""
    top: str
    """The stuff of the upper part."""
    bottom: str
    """The stuff of the lower part."""

    @property
    def is_top(self) -> Bool[np.ndarray, "96 96"]:
        """True in the upper part, also behind the objects."""
        return self.stuff_map == STUFFS.index(self.top)

    @property
    def class_names(self) -> list[str]:
        """The classes present, in class order: the image-level labels."""
        present = {item.class_name for item in self.objects}
        return [name for name in CLASSES if name in present]


def make_example(seed: int, index: int, *, biased: bool) -> Example:
    """Image `index` of the world `seed`, the same whatever else is drawn, in any order.

    `biased`: each class mostly in its home scene; else objects and scenes are independent.
    """
    rng = np.random.default_rng((seed, index, int(biased)))
    while True:
        example = _draw_example(rng, biased)
        if all(item.visible.sum() >= _MIN_VISIBLE for item in example.objects):
            return example


def answers(example: Example, class_name: str) -> dict[str, str]:
    """The true answer to each published question template about the first object of a class."""
    position = [item.class_name for item in example.objects].index(class_name)
    kind = OBJECTS[class_name].kinds[example.objects[position].kind]
    alias = OBJECTS[class_name].alias
    foreground = (kind.name, kind.name, kind.alias, kind.alias, alias, alias)
    background = (*_surroundings(example, position), *SCENES[example.scene][:3])
    templates = FOREGROUND_QUESTIONS + BACKGROUND_QUESTIONS
    return dict(zip(templates, foreground + background, strict=True))


def _surroundings(example: Example, position: int) -> tuple[str, ...]:
    """What is above, under, behind, around, next to, left and right of an object."""
    rows, columns = np.nonzero(example.objects[position].visible)
    y0, y1 = int(rows.min()), int(rows.max()) + 1
    x0, x1 = int(columns.min()), int(columns.max()) + 1
    stuff = example.stuff_map
    around = stuff[max(0, y0 - 8) : y1 + 8, max(0, x0 - 8) : x1 + 8]
    neighbours = [item for place, item in enumerate(example.objects) if place != position]
    left = [item.class_name for item in neighbours if _centre(item) < columns.mean()]
    right = [item.class_name for item in neighbours if _centre(item) >= columns.mean()]
    beside = _majority(stuff[y0:y1])
    return (
        _majority(stuff[:y0, x0:x1]) or example.top,
        _majority(stuff[y1:, x0:x1]) or example.bottom,
        _majority(stuff[y0:y1, x0:x1]),
        _majority(around),
        (left + right or [beside])[0],
        (left or [_majority(stuff[y0:y1, :x0]) or beside])[0],
        (right or [_majority(stuff[y0:y1, x1:]) or beside])[0],
    )


def _centre(item: Object) -> float:
    return float(np.nonzero(item.visible)[1].mean())


def _majority(stuffs: UInt8[np.ndarray, "h w"]) -> str:
    """The commonest stuff of a region; empty where the region is."""
    return STUFFS[np.bincount(stuffs.ravel()).argmax()] if stuffs.size else ""


@dataclass(frozen=True)
class _Placed:
    """A drawing and where its upper left corner goes, in fine pixels."""

    class_name: str
    kind: int
    drawing: PilImage.Image
    corner: tuple[int, int]


def _draw_example(rng: Rng, biased: bool) -> Example:
    names = _draw_class_names(rng, biased)
    at_home = biased and rng.random() < _PROB_HOME
    scene = OBJECTS[names[0]].home if at_home else str(rng.choice(list(SCENES)))
    top, bottom = (str(rng.choice(stuffs)) for stuffs in SCENES[scene][3:])
    horizon = int(rng.uniform(0.30, 0.55) * SIZE)
    ground = 0 if scene == "air" else horizon
    placed = [_draw_placed(rng, name, side, ground) for name, side in _sides(rng, names)]
    objects = _visible_objects(placed)
    stuff_map = np.full((SIZE, SIZE), STUFFS.index(bottom), np.uint8)
    stuff_map[:horizon] = STUFFS.index(top)
    canvas = _draw_background(rng, top, bottom, horizon)
    for item in placed:
        canvas.paste(item.drawing, item.corner, item.drawing)
    image = _photograph(rng, canvas)
    return Example(image, _label_map(objects), objects, scene, stuff_map, top, bottom)


def _draw_class_names(rng: Rng, biased: bool) -> list[str]:
    """One class, and sometimes a second: in the biased world mostly the same one again."""
    names = [str(rng.choice(CLASSES))]
    if rng.random() < _PROB_SECOND:
        same = biased and rng.random() > _PROB_SECOND_OTHER / _PROB_SECOND
        names.append(names[0] if same else str(rng.choice(CLASSES)))
    return names


def _sides(rng: Rng, names: list[str]) -> list[tuple[str, str]]:
    """Each name with its side: one object goes anywhere, two go left and right."""
    if len(names) == 1:
        return [(names[0], "any")]
    sides = ["left", "right"] if rng.random() < 0.5 else ["right", "left"]
    return list(zip(names, sides, strict=True))


def _draw_placed(rng: Rng, class_name: str, side: str, ground: int) -> _Placed:
    """An object that stands below the row `ground`, as far as its size lets it."""
    kind = int(rng.integers(len(OBJECTS[class_name].kinds)))
    size = int(rng.integers(46, 76) if side == "any" else rng.integers(40, 54))
    drawing = draw_object(rng, class_name, kind, size * _FINE)
    if rng.random() < 0.5:
        drawing = drawing.transpose(PilImage.Transpose.FLIP_LEFT_RIGHT)
    leftmost = {"any": -3, "left": -2, "right": SIZE // 2 - 4}[side]
    rightmost = {"any": SIZE - size + 3, "left": SIZE // 2 - size + 3, "right": SIZE - size + 2}[
        side
    ]
    lowest = SIZE - int(0.93 * size)
    highest = min(max(0, ground + 8 - int(0.9 * size)), lowest - 1)
    x = int(rng.integers(leftmost, max(leftmost, rightmost) + 1))
    y = int(rng.integers(highest, lowest))
    return _Placed(class_name, kind, drawing, (x * _FINE, y * _FINE))


def _visible_objects(placed: list[_Placed]) -> tuple[Object, ...]:
    """The objects with their visible pixels; later ones hide earlier ones."""
    owners = PilImage.new("L", (SIZE * _FINE, SIZE * _FINE), 0)
    for number, item in enumerate(placed):
        solid = item.drawing.getchannel("A").point([0] * 128 + [255] * 128)
        owners.paste(number + 1, item.corner, solid)
    owner_map = np.asarray(owners)[::_FINE, ::_FINE]
    return tuple(
        Object(item.class_name, item.kind, owner_map == number + 1)
        for number, item in enumerate(placed)
    )


def _label_map(objects: tuple[Object, ...]) -> LabelMap:
    label_map = np.zeros((SIZE, SIZE), np.uint8)
    for item in objects:
        label_map[item.visible] = CLASSES.index(item.class_name) + 1
    return label_map


def _draw_background(rng: Rng, top: str, bottom: str, horizon: int) -> PilImage.Image:
    upper = draw_texture(rng, top, horizon, SIZE)
    lower = draw_texture(rng, bottom, SIZE - horizon, SIZE)
    pixels = np.clip(np.concatenate([upper, lower]), 0, 255).astype(np.uint8)
    fine = (SIZE * _FINE, SIZE * _FINE)
    return PilImage.fromarray(pixels).resize(fine, PilImage.Resampling.BICUBIC)


def _photograph(rng: Rng, canvas: PilImage.Image) -> Image:
    """The canvas at its final size, under random light and with sensor noise."""
    image = np.asarray(canvas.resize((SIZE, SIZE), PilImage.Resampling.BOX), np.float32)
    light = (image - 128) * rng.uniform(0.85, 1.1) + 128 + rng.uniform(-12, 12)
    return np.clip(light + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
