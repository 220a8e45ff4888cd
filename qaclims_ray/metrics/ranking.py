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
    found = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero(shown.any(axis=0)):
        order = np.argsort(-scores[:, label], kind="stable")
        ranked, is_shown = scores[order, label], shown[order, label]
        last = np.searchsorted(-ranked, -ranked, side="right")  # images down to this one's equals
        found[label] = (np.cumsum(is_shown)[last - 1] / last)[is_shown].mean()
    return found
