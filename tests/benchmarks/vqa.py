"""BLIP: all questions about an image at once against one per call, and against a careful batch.

    python tests/benchmarks/vqa.py

BLIP-base dimensions, 480 pixels, random weights, one image, its 16 questions about one class, 3
beams, float32, side by side in one process; CPU seconds. Random weights never end an answer, so
that answers are as long as is allowed. Of the single calls, which all take equally long, every
fourth is timed.
"""

import time
from functools import partial

import torch

from qaclims_ray.benchmark.vqa import (
    LENGTHS,
    answer_batch,
    answer_one,
    fast_copy,
    random_blip,
    random_questions,
)
from qaclims_ray.model import blip

SAMPLED = 4


def seconds(function):
    """CPU seconds, which other processes disturb less than the wall clock, and result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def flops(num_calls, max_length):
    """Multiplications and additions of vision, question encoder and decoder, in units of 1e9."""
    cells, width, layers, vocabulary = 901, 768, 12, 30524
    tokens = sum(LENGTHS) + 2 * len(LENGTHS)
    vision = layers * cells * (12 * width**2 + 2 * cells * width)
    image_keys = layers * cells * 2 * width**2
    questions = layers * tokens * (14 * width**2 + 2 * cells * width)
    steps = 3 * len(LENGTHS) * (max_length - 1)
    answers = steps * (layers * 14 * width**2 + width * (width + vocabulary))
    return 2e-9 * (num_calls * (vision + image_keys) + questions + answers)


def each(model, calls, pixels, beams):
    """One question per call, as published."""
    return [answer_one(model, pixels, call, **beams) for call in calls]


def main():
    """Print one row per length of answers."""
    model = random_blip()
    pixels = torch.randn(1, 3, 480, 480)
    questions = random_questions(1)
    fast_model = fast_copy(model, "float32")
    print(f"{torch.get_num_threads()} threads; 16 answers; GFLOP are the floor of each way")
    print("tokens   one call each s   GFLOP   careful s   packed s   GFLOP   vision s   ratios")
    for max_length in (10, 3):
        beams = {"num_beams": 3, "min_length": 1, "max_length": max_length}
        vision, _ = seconds(torch.inference_mode()(lambda: fast_model.vision_model(pixels)))
        at_once = partial(blip.generate, fast_model, pixels, [questions], token_budget=2048)
        fast, packed = seconds(partial(at_once, **beams))
        slow, alone = seconds(partial(each, model, questions[::SAMPLED], pixels, beams))
        slow *= SAMPLED
        assert alone == packed[0][::SAMPLED]
        careful, batch = seconds(partial(answer_batch, model, pixels, questions, **beams))
        assert batch == packed[0]
        print(
            f"{max_length - 1:6d} {slow:17.1f} {flops(16, max_length):7.0f} {careful:10.2f} "
            f"{fast:10.2f} {flops(1, max_length):7.0f} {vision:10.2f} {slow / fast:7.1f} "
            f"{careful / fast:7.2f}"
        )


if __name__ == "__main__":
    main()
