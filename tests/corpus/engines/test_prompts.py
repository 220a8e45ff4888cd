import pytest

from qaclims_ray.corpus.engines.prompts import split_prompts


def test_prompts_are_split_behind_their_image():
    prompts = split_prompts([[1, 9, 4, 5], [1, 9, 6]], [1, 7, 9, 9, 9, 8, 4, 5], 9)
    assert prompts == ([1, 7, 9, 9, 9, 8], [[4, 5], [6]])


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ([[1, 9, 4], [2, 9, 4]], [1, 9, 9, 4]),
        ([[1, 9, 4], [1, 9, 9]], [1, 9, 9, 4]),
        ([[1, 9, 4], [1, 9, 5]], [1, 9, 9, 6]),
        ([[1, 4], [1, 5]], [1, 4]),
    ],
    ids=["other start", "second image", "other tokens", "no image"],
)
def test_prompts_that_share_no_image_are_refused(short, full):
    with pytest.raises(ValueError, match=r"share no start|not in list"):
        split_prompts(short, full, 9)
