"""Drawings of the objects, facing right, in unit coordinates of a square canvas.

Each class has a plain body and one small distinctive part (sail, nose, tail, head): a network that
only learns to tell classes apart looks at that part, which is the fault that the method mends.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

WHITE, GREY, BLACK = (236, 236, 232), (150, 152, 160), (44, 40, 44)
BROWN, TAN, RED = (120, 74, 44), (206, 160, 110), (200, 44, 44)
YELLOW, ORANGE, GREEN = (232, 190, 40), (226, 120, 40), (60, 170, 80)
BLUE, CYAN, GLASS = (48, 84, 180), (20, 200, 220), (180, 220, 240)
INK = (10, 10, 10)


class Pen:
    """Draws with coordinates from 0 to 1 on a transparent square canvas."""

    def __init__(self, size: int) -> None:
        self.canvas = Image.new("RGBA", (size, size), (0, 0, 0, 0))
        self._size = size
        self._draw = ImageDraw.Draw(self.canvas)

    def polygon(self, fill: Colour, *points: Point) -> None:
        """A filled polygon."""
        self._draw.polygon([(x * self._size, y * self._size) for x, y in points], fill=fill)

    def box(self, fill: Colour, x0: float, y0: float, x1: float, y1: float, r: float = 0) -> None:
        """A filled rectangle whose corners have the radius `r`."""
        corners = self._scaled(x0, y0, x1, y1)
        self._draw.rounded_rectangle(corners, radius=r * self._size, fill=fill)

    def oval(self, fill: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        """A filled ellipse inside the box."""
        self._draw.ellipse(self._scaled(x0, y0, x1, y1), fill=fill)

    def disc(self, fill: Colour, x: float, y: float, radius: float) -> None:
        """A filled circle."""
        self.oval(fill, x - radius, y - radius, x + radius, y + radius)

    def line(self, fill: Colour, width: float, *points: Point) -> None:
        """A line of `width` (unit coordinates) through the points."""
        scaled = [(x * self._size, y * self._size) for x, y in points]
        self._draw.line(scaled, fill=fill, width=max(2, round(width * self._size)))

    def _scaled(self, *values: float) -> list[float]:
        return [value * self._size for value in values]


def draw_object(rng: np.random.Generator, class_name: str, kind: int, size: int) -> Image.Image:
    """An RGBA drawing of one object, `size` pixels wide and high, its colour varied a little.

    `kind` is the position in `words.OBJECTS[class_name].kinds`.
    """
    painter, colours = _PAINTERS[class_name]
    red, green, blue = np.clip(colours[kind] + rng.integers(-14, 15, 3), 0, 255).tolist()
    pen = Pen(size)
    painter(pen, kind, (red, green, blue))
    return pen.canvas


def _dark(colour: Colour) -> Colour:
    red, green, blue = colour
    return red * 6 // 10, green * 6 // 10, blue * 6 // 10


def _boat(pen: Pen, kind: int, colour: Colour) -> None:
    pen.polygon(colour, (0.02, 0.60), (0.98, 0.60), (0.82, 0.86), (0.16, 0.86))
    if kind == 0:
        pen.box(BROWN, 0.47, 0.12, 0.50, 0.60)
        pen.polygon((250, 250, 250), (0.51, 0.14), (0.51, 0.56), (0.80, 0.56))
        pen.polygon(RED, (0.51, 0.30), (0.51, 0.42), (0.70, 0.42), (0.62, 0.30))
        pen.polygon(ORANGE, (0.46, 0.2), (0.46, 0.56), (0.26, 0.56))
    elif kind == 1:
        pen.polygon((250, 250, 250), (0.40, 0.60), (0.50, 0.44), (0.72, 0.44), (0.76, 0.60))
        pen.box(CYAN, 0.52, 0.48, 0.66, 0.56)
        pen.polygon(ORANGE, (0.1, 0.60), (0.1, 0.42), (0.24, 0.48), (0.1, 0.52))
    else:
        pen.box((244, 244, 240), 0.24, 0.42, 0.76, 0.60)
        pen.box(ORANGE, 0.44, 0.22, 0.56, 0.42)
        pen.box(BLACK, 0.44, 0.22, 0.56, 0.28)
        for x in (0.31, 0.43, 0.55, 0.67):
            pen.disc(CYAN, x, 0.505, 0.032)


def _train(pen: Pen, kind: int, colour: Colour) -> None:
    pen.box(colour, 0.0, 0.40, 0.84, 0.78)
    for x in (0.10, 0.30, 0.50, 0.70):
        pen.disc((30, 30, 30), x, 0.80, 0.06)
    slant = 0.22 if kind == 2 else 0.0
    pen.polygon((250, 220, 20), (0.80, 0.38), (0.98, 0.38 + slant), (0.98, 0.79), (0.80, 0.79))
    for y in (0.62, 0.68, 0.74):
        pen.polygon(INK, (0.82, y), (0.97, y - 0.04), (0.97, y - 0.01), (0.82, y + 0.03))
    pen.box(CYAN, 0.84, 0.47, 0.93, 0.56)
    if kind == 0:
        pen.box(_dark(colour), 0.62, 0.22, 0.74, 0.40)
        pen.box(RED, 0.59, 0.18, 0.77, 0.24)
    elif kind == 1:
        pen.line((30, 30, 30), 0.025, (0.3, 0.4), (0.42, 0.24), (0.54, 0.4))
    else:
        pen.box(BLUE, 0.0, 0.60, 0.80, 0.66)


def _aeroplane(pen: Pen, kind: int, colour: Colour) -> None:
    pen.oval(colour, 0.02, 0.42, 0.98, 0.64)
    pen.polygon(_dark(colour), (0.42, 0.52), (0.60, 0.52), (0.40, 0.86), (0.26, 0.86))
    pen.polygon((210, 30, 140), (0.04, 0.52), (0.02, 0.20), (0.14, 0.20), (0.24, 0.48))
    pen.disc((255, 255, 255), 0.095, 0.295, 0.045)
    pen.disc((20, 30, 160), 0.095, 0.295, 0.02)
    if kind == 0:
        pen.polygon(BLACK, (0.9, 0.48), (1.0, 0.53), (0.9, 0.58))
        pen.polygon(_dark(colour), (0.46, 0.48), (0.56, 0.48), (0.44, 0.24), (0.38, 0.24))
    elif kind == 1:
        for step in range(7):
            pen.box((20, 30, 60), 0.28 + 0.08 * step, 0.48, 0.32 + 0.08 * step, 0.52)
    else:
        pen.box(RED, 0.46, 0.24, 0.74, 0.30)
        pen.line(BLACK, 0.02, (0.5, 0.3), (0.5, 0.46))
        pen.line(BLACK, 0.02, (0.7, 0.3), (0.7, 0.46))
        pen.box(BLACK, 0.96, 0.36, 0.99, 0.70)


def _car(pen: Pen, kind: int, colour: Colour) -> None:
    pen.box(colour, 0.02, 0.50, 0.98, 0.76, r=0.06)
    if kind == 1:
        pen.box(colour, 0.60, 0.30, 0.92, 0.52)
        pen.box(GLASS, 0.66, 0.35, 0.86, 0.48)
    else:
        pen.polygon(colour, (0.20, 0.52), (0.32, 0.32), (0.70, 0.32), (0.84, 0.52))
        pen.polygon(GLASS, (0.30, 0.50), (0.36, 0.37), (0.50, 0.37), (0.50, 0.50))
        pen.polygon(GLASS, (0.54, 0.50), (0.54, 0.37), (0.68, 0.37), (0.75, 0.50))
    if kind == 0:
        pen.box((250, 250, 250), 0.44, 0.22, 0.60, 0.32)
        pen.box(BLACK, 0.47, 0.25, 0.57, 0.29)
    for x in (0.25, 0.77):
        pen.disc((16, 16, 16), x, 0.75, 0.11)
        pen.disc((240, 240, 250), x, 0.75, 0.05)
    pen.box((255, 250, 120), 0.93, 0.56, 0.99, 0.64)


def _legs(pen: Pen, colour: Colour, width: float, top: float, bottom: float, *xs: float) -> None:
    for x in xs:
        pen.box(colour, x, top, x + width, bottom)


def _cow(pen: Pen, kind: int, colour: Colour) -> None:
    pen.box(colour, 0.06, 0.36, 0.76, 0.70, r=0.10)
    _legs(pen, colour, 0.08, 0.64, 0.90, 0.10, 0.22, 0.54, 0.66)
    if kind == 1:
        for x, y, radius in ((0.2, 0.46, 0.09), (0.42, 0.56, 0.08), (0.58, 0.44, 0.07)):
            pen.disc(BLACK, x, y, radius)
    pen.box(colour, 0.70, 0.24, 0.94, 0.52, r=0.05)
    pen.box((246, 150, 170), 0.78, 0.42, 0.99, 0.56, r=0.05)
    pen.polygon((250, 244, 214), (0.70, 0.28), (0.62, 0.10), (0.77, 0.24))
    pen.polygon((250, 244, 214), (0.90, 0.28), (0.99, 0.10), (0.84, 0.24))
    pen.disc(INK, 0.83, 0.34, 0.03)


def _horse(pen: Pen, kind: int, colour: Colour) -> None:
    mane = (20, 20, 20) if kind == 1 else (250, 110, 20)
    pen.oval(colour, 0.08, 0.40, 0.72, 0.68)
    _legs(pen, colour, 0.06, 0.58, 0.94, 0.12, 0.22, 0.52, 0.62)
    pen.polygon(colour, (0.56, 0.52), (0.72, 0.14), (0.84, 0.16), (0.72, 0.60))
    pen.polygon(colour, (0.72, 0.14), (0.98, 0.30), (0.94, 0.38), (0.76, 0.30))
    pen.polygon(mane, (0.72, 0.04), (0.80, 0.14), (0.66, 0.42), (0.56, 0.46), (0.62, 0.2))
    pen.polygon(mane, (0.1, 0.46), (0.0, 0.52), (0.0, 0.78), (0.08, 0.7))
    pen.disc(INK, 0.825, 0.225, 0.025)
    if kind == 1:
        for x in (0.14, 0.24, 0.34, 0.44, 0.54, 0.64):
            pen.line(INK, 0.04, (x, 0.42), (x + 0.04, 0.66))


def _dog(pen: Pen, kind: int, colour: Colour) -> None:
    pen.box(colour, 0.10, 0.50, 0.68, 0.74, r=0.08)
    _legs(pen, colour, 0.07, 0.68, 0.92, 0.12, 0.22, 0.50, 0.60)
    pen.line(colour, 0.07, (0.12, 0.54), (0.0, 0.34))
    pen.box((20, 220, 60), 0.58, 0.46, 0.70, 0.54)
    pen.oval(colour, 0.58, 0.22, 0.88, 0.54)
    pen.box((250, 246, 240), 0.76, 0.36, 0.99, 0.52, r=0.05)
    pen.disc(INK, 0.96, 0.40, 0.04)
    pen.polygon((240, 40, 80), (0.84, 0.52), (0.92, 0.52), (0.88, 0.66))
    if kind == 1:
        pen.polygon(INK, (0.60, 0.28), (0.62, 0.06), (0.72, 0.24))
        pen.polygon(INK, (0.72, 0.26), (0.80, 0.06), (0.84, 0.28))
    else:
        pen.oval((90, 30, 10), 0.56, 0.22, 0.70, 0.52)
    pen.disc((20, 120, 240), 0.77, 0.32, 0.03)


def _bird(pen: Pen, kind: int, colour: Colour) -> None:
    x, y = (0.72, 0.20) if kind == 2 else (0.72, 0.40)
    pen.oval(colour, 0.12, 0.40, 0.78, 0.78)
    pen.polygon(_dark(colour), (0.20, 0.56), (0.0, 0.44), (0.0, 0.64))
    if kind == 2:
        pen.polygon(colour, (0.62, 0.6), (0.66, 0.16), (0.76, 0.16), (0.76, 0.62))
    pen.oval(RED if kind == 0 else colour, x - 0.15, y - 0.13, x + 0.15, y + 0.15)
    pen.polygon((255, 140, 0), (x + 0.08, y - 0.08), (x + 0.27, y + 0.02), (x + 0.08, y + 0.10))
    pen.disc((255, 255, 80), x + 0.01, y - 0.02, 0.05)
    pen.disc((0, 0, 0), x + 0.01, y - 0.02, 0.02)
    if kind == 0:
        pen.polygon(BLUE, (0.3, 0.5), (0.58, 0.5), (0.3, 0.72))
    for foot in (0.38, 0.52):
        pen.line((255, 140, 0), 0.03, (foot, 0.76), (foot, 0.92))


_PAINTERS: dict[str, tuple[Callable[[Pen, int, Colour], None], Sequence[Colour]]] = {
    "boat": (_boat, (WHITE, RED, BLUE)),
    "train": (_train, (BLACK, RED, WHITE)),
    "aeroplane": (_aeroplane, (GREY, WHITE, YELLOW)),
    "car": (_car, (YELLOW, BLUE, RED)),
    "cow": (_cow, (BROWN, WHITE, TAN)),
    "horse": (_horse, (BROWN, WHITE, TAN)),
    "dog": (_dog, (TAN, GREY, BLACK)),
    "bird": (_bird, (GREEN, BROWN, WHITE)),
}
