"""All thresholds in one pass against one pass per threshold, as published and with care.

    python tests/benchmarks/thresholds.py

20 images of 375 x 500 pixels, two CAMs each, 50 thresholds, side by side in one process; CPU
seconds.
"""

import time

import numpy as np

from qaclims_ray.metrics.confusion import count, sweep

NUM_IMAGES, SIZE, NUM_CLASSES = 20, (375, 500), 20
THRESHOLDS = np.arange(50) / 50


def images():
    """CAMs, classes and ground truth."""
    rng = np.random.default_rng(0)
    for _ in range(NUM_IMAGES):
        truth = rng.choice(np.array([0, 4, 15, 255], np.uint8), size=SIZE)
        yield rng.random((2, *SIZE), dtype=np.float32), [3, 14], truth


def loop(cams, classes, truth, thresholds):
    """The published way: argmax and count at each threshold."""
    values = np.array([0, *(index + 1 for index in classes)])
    return np.stack(
        [
            count(
                values[np.concatenate([np.full((1, *SIZE), t, np.float32), cams]).argmax(0)],
                truth,
                NUM_CLASSES,
            )
            for t in thresholds
        ]
    )


def careful(cams, classes, truth, thresholds):
    """A loop by a careful hand: the largest CAM once, then a bincount at each threshold."""
    winner, value = np.array(classes)[cams.argmax(0)] + 1, cams.max(0)
    kept = truth != 255
    true, winner, value = truth[kept].astype(np.int64), winner[kept], value[kept]
    size = NUM_CLASSES + 1
    rows = true * size
    return np.stack(
        [
            np.bincount(
                rows + np.where(value > np.float32(t), winner, 0), minlength=size * size
            ).reshape(size, size)
            for t in thresholds
        ]
    )


def seconds(function):
    """CPU seconds, which other processes disturb less than the wall clock, and result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def main():
    """Print the table."""
    data = list(images())
    sweep(*data[0], THRESHOLDS, NUM_CLASSES)
    fast, ours = seconds(lambda: sum(sweep(*image, THRESHOLDS, NUM_CLASSES) for image in data))
    slow, theirs = seconds(lambda: sum(loop(*image, THRESHOLDS) for image in data))
    assert np.array_equal(ours, theirs)
    middle, others = seconds(lambda: sum(careful(*image, THRESHOLDS) for image in data))
    assert np.array_equal(ours, others)
    print("way                        20 images   an image   ratio to all at once")
    for way, spent in (("published loop", slow), ("careful loop", middle), ("all at once", fast)):
        per_image = 1e3 * spent / NUM_IMAGES
        print(f"{way:25s} {spent:9.2f} s {per_image:7.1f} ms {spent / fast:7.1f}")
    print(f"floor: one threshold of the published loop, ratio {len(THRESHOLDS)}")


if __name__ == "__main__":
    main()
