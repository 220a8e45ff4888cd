"""All thresholds in one pass against one pass per threshold.

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
    print(f"one pass per threshold   {slow:7.2f} s   {1e3 * slow / NUM_IMAGES:7.1f} ms an image")
    print(f"one pass for all         {fast:7.2f} s   {1e3 * fast / NUM_IMAGES:7.1f} ms an image")
    print(f"ratio                    {slow / fast:7.1f}     (one threshold of the loop: floor 50)")


if __name__ == "__main__":
    main()
