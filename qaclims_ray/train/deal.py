"""Deal out images: which come in which batch of an epoch, and which batches a worker takes."""

import numpy as np
from jaxtyping import Float32, Int


def steps_per_epoch(num_images: int, num_batches: int, images_per_batch: int) -> int:
    """Count the whole steps of `num_batches` batches; the images left wait for another epoch."""
    return num_images // (num_batches * images_per_batch)


def epoch_rows(
    num_images: int,
    *,
    seed: int,
    epoch: int,
    num_batches: int,
    images_per_batch: int,
    shares: Float32[np.ndarray, "N"] | None = None,
) -> Int[np.ndarray, "steps M B"]:
    """Deal out a permutation of all images: rows of each of the M batches of each step.

    With `shares` of the images, which need not sum to 1, each comes as often as it is due, rounded
    up or down, and an epoch is as long as without them.
    """
    steps = steps_per_epoch(num_images, num_batches, images_per_batch)
    rng = np.random.default_rng([seed, epoch])
    drawn = np.arange(num_images)
    if shares is not None:
        due = np.cumsum(shares, dtype=np.float64) / np.sum(shares, dtype=np.float64)
        drawn = np.searchsorted(due[:-1], (drawn + rng.random()) / num_images, side="right")
    order = rng.permutation(drawn)
    kept = order[: steps * num_batches * images_per_batch]
    return kept.reshape(steps, num_batches, images_per_batch)


def shard(num_batches: int, rank: int, world_size: int) -> tuple[list[int], list[float]]:
    """Choose which of a step's batches a worker takes, and with which weights.

    The gradient, averaged over workers, is the mean of those of all batches. Every worker takes
    equally many, as they run the same collectives: where their number does not divide that of the
    batches, some take one again, with weight 0.
    """
    rounds = -(-num_batches // world_size)
    places = [rank + turn * world_size for turn in range(rounds)]
    weights = [world_size / num_batches if place < num_batches else 0.0 for place in places]
    return [place % num_batches for place in places], weights
