"""The sparse random walk against the dense form, squared as published and multiplied with care.

    python tests/benchmarks/walk.py          # dense at 47 x 63 only
    python tests/benchmarks/walk.py --full   # dense at 94 x 125 too: minutes, 3 GB

Three classes, radius 5, beta 10, 2^8 steps, side by side in one process; CPU seconds. The floor of
the sparse walk is the time to read its matrix 256 times at the speed of a plain sum.
"""

import sys
import time

import torch

from qaclims_ray.benchmark.walk import BETA, EXP_TIMES, RADIUS, dense_walk, random_boundaries
from qaclims_ray.model.affinity import random_walk, weights


def seconds(function):
    """CPU seconds, which other processes disturb less than the wall clock, and result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def floor(edge):
    """Seconds to read the sparse matrix once per step."""
    matrix = weights(edge.double(), radius=RADIUS, beta=BETA)
    values = matrix.values().repeat(2)[: matrix.values().numel() * 3 // 2]  # 8 + 4 bytes an entry
    values.sum()
    return 2**EXP_TIMES * min(seconds(values.sum)[0] for _ in range(5))


def main(full):
    """Print one row per size."""
    torch.manual_seed(0)
    # Far cells are joined by numbers that CPUs, unlike GPUs, are slow to multiply.
    torch.set_flush_denormal(True)
    print(f"{torch.get_num_threads()} threads")
    print("    size   squared s   products s   sparse s   ratios   floor s   largest difference")
    for height, width, dense in ((47, 63, True), (94, 125, full), (120, 160, False)):
        cams, edge = torch.rand(3, height, width), random_boundaries(height, width)
        fast = min(seconds(lambda: random_walk(cams, edge))[0] for _ in range(3))  # noqa: B023
        row = f"{height:4d} x {width:<4d}"
        if not dense:
            print(f"{row}        -   {fast:8.2f}       -   {floor(edge):7.2f}")
            continue
        slow, expected = seconds(lambda: dense_walk(cams, edge))  # noqa: B023
        careful, _ = seconds(lambda: dense_walk(cams, edge, squared=False))  # noqa: B023
        error = (random_walk(cams, edge) - expected).abs().max() / expected.max()
        print(
            f"{row} {slow:8.2f} {careful:8.2f}   {fast:8.2f} {slow / fast:7.0f} "
            f"{careful / fast:7.1f}   {floor(edge):7.2f}   {error:.1e}"
        )


if __name__ == "__main__":
    main("--full" in sys.argv[1:])
