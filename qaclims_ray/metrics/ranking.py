"""How well scores of images rank those that show a class before the others."""

import numpy as np
from jaxtyping import Bool, Float


def average_precision(
    scores: Float[np.ndarray, "N C"], shown: Bool[np.ndarray, "N C"]
) -> Float[np.ndarray, "C"]:
    """Compute the average precision of each class: the mean precision at its images' ranks.

    Images of equal scores share the rank of the last of them, so that their order does not count.

    Args:
        scores: Of each image for each class; only their order counts.
        shown: Whether the image shows the class.

    Returns:
        In [0, 1]; NaN for a class that no image shows.
    """
    columns = zip(scores.T, shown.T, strict=True)
    return np.array([_of_class(own, is_shown) for own, is_shown in columns], np.float64)


def _of_class(scores: Float[np.ndarray, "N"], shown: Bool[np.ndarray, "N"]) -> float:
    if not shown.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.searchsorted(-ranked, -ranked, side="right")  # images down to this one's equals
    hits = np.cumsum(shown[order])
    return float((hits[last - 1] / last)[shown[order]].mean())
