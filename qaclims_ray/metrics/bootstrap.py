"""Bootstrap over images, in constant memory.

The Poisson bootstrap (Hanley and MacGibbon 2006; Chamandy et al. 2012): in each replicate each
image counts n times, with n drawn from Poisson(1). This is resampling with replacement whose sample
size varies a little, which no ratio of sums notices, and it needs no second look at any image.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

NUM_REPLICATES = 1000
SHARE = 0.95
"""Share of the replicates that lie in an interval."""


def resample(
    values: Iterable[Int[np.ndarray, "_ V"]], seed: int = 0, num_replicates: int = NUM_REPLICATES
) -> Float[np.ndarray, "R V"]:
    """Sums over images, in replicates whose images are drawn with replacement.

    Args:
        values: Batches of images, a row each; only order and number of all images count, not how
            they are cut into batches.
        seed: Of the draws.
        num_replicates: R.
    """
    rng = np.random.default_rng(seed)
    total: Float[np.ndarray, "R V"] | float = 0.0
    for batch in values:
        weights = rng.poisson(1.0, (len(batch), num_replicates))
        total = total + weights.T.astype(float) @ batch.astype(float)
    return np.asarray(total)


def interval(
    samples: Float[np.ndarray, "R *n"], value: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "2 *n"]:
    """Percentile interval that holds `SHARE` of the replicates, and the value itself.

    Replicates are biased where few images show a class: many have none of them, and their means are
    over fewer classes. Where the value lies beyond the percentiles, the interval reaches to it.

    Args:
        samples: The value of each replicate.
        value: That of the images as they are.

    Returns:
        Lower and upper bound; nan where no replicate is defined.
    """
    tail = 50 * (1 - SHARE)
    defined = np.isfinite(samples).any(axis=0)
    bounds = np.nanpercentile(np.where(defined, samples, 0.0), [tail, 100 - tail], axis=0)
    low, high = np.fmin(bounds[0], value), np.fmax(bounds[1], value)
    return np.where(defined, np.stack([low, high]), np.nan)
