"""Textures of the background stuffs, as float RGB arrays on the scale 0 to 255."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

Rng = np.random.Generator
Grey = Float[np.ndarray, "H W"]
Texture = Float[np.ndarray, "H W 3"]
Colour = tuple[int, int, int]


def draw_texture(rng: Rng, stuff: str, height: int, width: int) -> Texture:
    """A random sample of `stuff` (a word of `words.STUFFS`); values may leave 0 to 255 slightly."""
    return _PAINTERS[stuff](rng, *_grid(height, width))


def _grid(height: int, width: int) -> tuple[Grey, Grey]:
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows, columns


def _noise(rng: Rng, like: Grey, cell: int) -> Float[np.ndarray, "H W 1"]:
    """Smooth noise in [-0.5, 0.5] whose bumps are about `cell` pixels wide."""
    height, width = like.shape
    coarse = rng.random((height // cell + 2, width // cell + 2)) * 255
    image = Image.fromarray(coarse.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.asarray(image, np.float32)[..., None] / 255 - 0.5


def _fill(like: Grey, colour: Colour) -> Texture:
    return np.broadcast_to(np.asarray(colour, np.float32), (*like.shape, 3)).copy()


def _where(inside: Bool[np.ndarray, "H W"], colour: Colour, otherwise: Texture) -> Texture:
    return np.where(inside[..., None], np.asarray(colour, np.float32), otherwise)


def _phase(rng: Rng) -> float:
    return rng.uniform(0, 2 * np.pi)


def _sky(rng: Rng, y: Grey, x: Grey) -> Texture:
    haze = (y / len(y) * 30)[..., None] * np.array([1, 0.8, 0.2], np.float32)
    return _fill(y, (120, 176, 232)) + haze + _noise(rng, y, 24) * 24


def _fog(rng: Rng, y: Grey, x: Grey) -> Texture:
    return _fill(y, (196, 202, 200)) + _noise(rng, y, 30) * 40


def _cloud(rng: Rng, y: Grey, x: Grey) -> Texture:
    puff = np.clip(_noise(rng, y, 20) * 5 + 0.3, 0, 1)
    return _fill(y, (140, 184, 230)) * (1 - puff) + _fill(y, (246, 246, 250)) * puff


def _rock(rng: Rng, y: Grey, x: Grey) -> Texture:
    strata = np.sin((y + x * 0.5) * 0.55 + _noise(rng, y, 12)[..., 0] * 9)[..., None]
    return _fill(y, (134, 116, 100)) + strata * 22 + _noise(rng, y, 4) * 50


def _water(rng: Rng, y: Grey, x: Grey) -> Texture:
    ripple = np.sin(y * rng.uniform(0.7, 1.1) + np.sin(x * 0.15 + _phase(rng)) * 1.5)[..., None]
    return _fill(y, (20, 84, 130)) + ripple * 22 + _noise(rng, y, 3) * 20


def _wave(rng: Rng, y: Grey, x: Grey) -> Texture:
    crest = np.sin(y * 0.42 + np.sin(x * 0.2 + _phase(rng)) * 2 + _phase(rng))
    return _where(crest > 0.7, (226, 240, 240), _fill(y, (20, 130, 120)) + _noise(rng, y, 3) * 26)


def _tree(rng: Rng, y: Grey, x: Grey) -> Texture:
    trunks = (x + rng.integers(0, 22)) % 22 < 5
    return _where(trunks, (78, 52, 34), _fill(y, (30, 72, 38))) + _noise(rng, y, 3) * 34


def _bush(rng: Rng, y: Grey, x: Grey) -> Texture:
    berries = _noise(rng, y, 3)[..., 0] > 0.26
    base = _fill(y, (50, 110, 84)) + _noise(rng, y, 8) * 70
    return _where(berries, (214, 60, 90), base)


def _fence(rng: Rng, y: Grey, x: Grey) -> Texture:
    pickets = (x + rng.integers(0, 12)) % 12 < 7
    base = _where(pickets, (214, 208, 190), _fill(y, (70, 60, 50)))
    bars = (np.abs(y - len(y) * 0.3) < 2.5) | (np.abs(y - len(y) * 0.75) < 2.5)
    return _where(bars, (170, 160, 140), base) + _noise(rng, y, 3) * 16


def _brick(rng: Rng, y: Grey, x: Grey) -> Texture:
    course = np.floor(y / 6)
    joints = (y % 6 < 1.2) | ((x + course * 6 + rng.integers(0, 12)) % 12 < 1.2)
    return _where(joints, (206, 196, 184), _fill(y, (166, 70, 52)) + _noise(rng, y, 5) * 30)


def _rail(rng: Rng, y: Grey, x: Grey) -> Texture:
    ties = (x + rng.integers(0, 12)) % 12 < 5
    base = _where(ties, (66, 44, 32), _fill(y, (128, 104, 88)) + _noise(rng, y, 3) * 50)
    rails = (np.abs(y - len(y) * 0.25) < 1.8) | (np.abs(y - len(y) * 0.7) < 1.8)
    return _where(rails, (196, 200, 208), base)


def _stone(rng: Rng, y: Grey, x: Grey) -> Texture:
    bright = _noise(rng, y, 4)
    return _fill(y, (150, 150, 156)) + np.sign(bright) * 34 + bright * 60


def _runway(rng: Rng, y: Grey, x: Grey) -> Texture:
    dashes = (x + rng.integers(0, 24)) % 24 < 14
    bars = ((y + rng.integers(0, 14)) % 14 < 4) & dashes
    return _where(bars, (250, 250, 250), _fill(y, (46, 46, 58)) + _noise(rng, y, 3) * 14)


def _building(rng: Rng, y: Grey, x: Grey) -> Texture:
    facade: Colour = (150, 132, 98) if rng.random() < 0.5 else (130, 130, 140)
    glass: Colour = (240, 226, 150) if rng.random() < 0.4 else (60, 70, 96)
    windows = ((x + rng.integers(0, 12)) % 12 < 6) & ((y + rng.integers(0, 14)) % 14 < 7)
    return _where(windows, glass, _fill(y, facade) + _noise(rng, y, 3) * 10)


def _road(rng: Rng, y: Grey, x: Grey) -> Texture:
    dashes = (x + rng.integers(0, 32)) % 32 < 16
    line = dashes & (np.abs(y - len(y) * rng.uniform(0.35, 0.7)) < 2.2)
    return _where(line, (236, 200, 60), _fill(y, (92, 92, 98)) + _noise(rng, y, 3) * 20)


def _cobble(rng: Rng, y: Grey, x: Grey) -> Texture:
    shift = rng.integers(0, 10)
    domes = np.cos((x + shift) * 0.63) * np.cos((y + shift) * 0.63)
    return _fill(y, (120, 108, 130)) + (np.abs(domes)[..., None] - 0.5) * 110


def _mountain(rng: Rng, y: Grey, x: Grey) -> Texture:
    phase = _phase(rng)
    ridge = 0.35 + 0.25 * np.sin(x * 0.09 + phase) + 0.1 * np.sin(x * 0.23 + phase)
    base = _where(y > len(y) * ridge, (104, 96, 124), _fill(y, (150, 150, 196)))
    return base + _noise(rng, y, 3) * 20


def _grass(rng: Rng, y: Grey, x: Grey) -> Texture:
    blades = _noise(rng, y, 3) * 70 * np.array([0.7, 1, 0.4], np.float32)
    return _fill(y, (84, 150, 50)) + blades + _noise(rng, y, 24) * 24


def _mud(rng: Rng, y: Grey, x: Grey) -> Texture:
    puddles = _noise(rng, y, 12)[..., 0] > 0.12
    base = _fill(y, (84, 58, 36)) + _noise(rng, y, 4) * 40
    return _where(puddles, (128, 118, 112), base)


def _hay(rng: Rng, y: Grey, x: Grey) -> Texture:
    straws = np.sin((x + y * rng.uniform(0.6, 1.2)) * 1.3 + _noise(rng, y, 6)[..., 0] * 12)
    return _fill(y, (216, 178, 64)) + straws[..., None] * 30 + _noise(rng, y, 3) * 30


def _sand(rng: Rng, y: Grey, x: Grey) -> Texture:
    ripple = np.sin(y * 0.35 + x * 0.1 + _phase(rng))[..., None] * 7
    return _fill(y, (230, 206, 150)) + _noise(rng, y, 3) * 26 + ripple


def _clay(rng: Rng, y: Grey, x: Grey) -> Texture:
    cracks = np.abs(_noise(rng, y, 7)[..., 0]) < 0.035
    return _where(cracks, (90, 40, 24), _fill(y, (204, 116, 72)) + _noise(rng, y, 16) * 26)


def _wall(rng: Rng, y: Grey, x: Grey) -> Texture:
    stripes = (x + rng.integers(0, 14)) % 14 < 4
    return _where(stripes, (206, 150, 160), _fill(y, (226, 206, 196))) + _noise(rng, y, 24) * 10


def _curtain(rng: Rng, y: Grey, x: Grey) -> Texture:
    folds = np.sin(x * 0.5 + _phase(rng))[..., None]
    return _fill(y, (96, 40, 120)) + folds * 34 + _noise(rng, y, 24) * 10


def _shelf(rng: Rng, y: Grey, x: Grey) -> Texture:
    spines = np.sin(np.floor(x / 4) * 37.7 + np.floor(y / 14) * 11.3)[..., None]
    books = _fill(y, (120, 96, 90)) + spines * np.array([90, 40, -70], np.float32)
    return _where((y + rng.integers(0, 14)) % 14 < 2.5, (60, 36, 20), books)


def _floor(rng: Rng, y: Grey, x: Grey) -> Texture:
    plank = np.floor(y / 10)
    joints = (y % 10 < 1) | ((x + plank * 17 + rng.integers(0, 40)) % 40 < 1.5)
    return _where(joints, (84, 50, 28), _fill(y, (156, 100, 56)) + _noise(rng, y, 3) * 10)


def _carpet(rng: Rng, y: Grey, x: Grey) -> Texture:
    lattice = (np.abs((x + y) % 16 - 8) < 1.6) | (np.abs((x - y) % 16 - 8) < 1.6)
    return _where(lattice, (230, 190, 120), _fill(y, (40, 60, 110)) + _noise(rng, y, 2) * 20)


def _leaf(rng: Rng, y: Grey, x: Grey) -> Texture:
    litter = _noise(rng, y, 5)[..., 0] > 0
    base = _where(litter, (176, 120, 36), _fill(y, (96, 100, 30)))
    return base + _noise(rng, y, 3) * 30


def _snow(rng: Rng, y: Grey, x: Grey) -> Texture:
    drifts = np.sin(y * 0.3 + np.sin(x * 0.08 + _phase(rng)) * 2)[..., None]
    return _fill(y, (234, 240, 250)) + drifts * 8 + _noise(rng, y, 16) * 14


_PAINTERS: dict[str, Callable[[Rng, Grey, Grey], Texture]] = {
    "sky": _sky,
    "fog": _fog,
    "rock": _rock,
    "water": _water,
    "wave": _wave,
    "tree": _tree,
    "fence": _fence,
    "brick": _brick,
    "rail": _rail,
    "stone": _stone,
    "cloud": _cloud,
    "runway": _runway,
    "building": _building,
    "road": _road,
    "cobble": _cobble,
    "mountain": _mountain,
    "grass": _grass,
    "mud": _mud,
    "hay": _hay,
    "sand": _sand,
    "clay": _clay,
    "wall": _wall,
    "curtain": _curtain,
    "shelf": _shelf,
    "floor": _floor,
    "carpet": _carpet,
    "bush": _bush,
    "leaf": _leaf,
    "snow": _snow,
}
