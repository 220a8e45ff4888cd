import numpy as np
import pytest

from qaclims_ray.config.corpus import ImageBounds
from qaclims_ray.corpus.engines.bounds import Bounded, bound


def _image(height, width):
    return np.full((height, width, 3), 7, np.uint8)


@pytest.mark.parametrize("size", [(2, 2), (26, 28), (28, 26), (1, 10_000), (28, 5_601)])
def test_sizes_that_no_model_takes_are_named(size):
    with pytest.raises(ValueError, match=f"^{size[1]}x{size[0]} pixels are too .* corpus.engine.m"):
        bound(_image(*size), ImageBounds())


@pytest.mark.parametrize("size", [(28, 28), (28, 5_600)])
def test_sizes_at_the_bounds_are_taken_as_they_are(size):
    image = _image(*size)
    assert bound(image, ImageBounds()) is image


def test_an_image_is_judged_as_it_would_be_shown():
    bounds = ImageBounds(max_side=100)
    assert bound(_image(60, 200), bounds).shape == (30, 100, 3)
    with pytest.raises(ValueError, match=r"^100x25 pixels are too few"):
        bound(_image(50, 200), bounds)


class Widths:
    """Answers the width of an image; counts its calls."""

    calls = 0

    def answer(self, images, questions, *, names):
        self.calls += 1
        return [
            [f"{name} {image.shape[1]}"] * len(asked)
            for image, asked, name in zip(images, questions, names, strict=True)
        ]


def test_an_image_out_of_bounds_is_not_sent_and_costs_no_other_its_answers():
    engine = Widths()
    images = [_image(30, 40), _image(2, 2), _image(30, 50), _image(1, 1)]
    asked = [["a?"], ["a?"], ["a?", "b?"], []]
    first, small, second, unasked = Bounded(engine, ImageBounds()).answer(
        images, asked, names=["a", "b", "c", "d"]
    )
    assert (first, second, unasked) == (["a 40"], ["c 50", "c 50"], [])
    assert isinstance(small, ValueError)
    assert engine.calls == 1
    assert Bounded(engine, ImageBounds()).answer(images[1:2], asked[1:2], names=["b"])[0] != []
    assert engine.calls == 1
