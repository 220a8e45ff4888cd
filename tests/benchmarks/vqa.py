"""BLIP: all questions about an image at once against one question per call.

    python tests/benchmarks/vqa.py

BLIP-base dimensions, 480 pixels, random weights, one image, its 16 questions about one class, 3
beams, float32, side by side in one process; CPU seconds. Random weights never end an answer, so
that answers are as long as is allowed. Of the single calls, which all take equally long, every
fourth is timed.
"""

import copy
import time
from functools import partial

import torch
from transformers import BlipConfig, BlipForQuestionAnswering

from qaclims_ray.corpus import blip

ENC, DEC, SEP = 30523, 30522, 102
LENGTHS = (8, 8, 7, 7, 8, 8, 6, 6, 6, 6, 7, 8, 8, 7, 7, 7)
"""Tokens of the 6 + 10 published questions about a class of one token, [ENC] and [SEP] but."""
SAMPLED = 4


def base_model():
    """Random weights in the dimensions of blip-vqa-capfilt-large."""
    config = BlipConfig(
        text_config={
            "num_attention_heads": 12,
            "vocab_size": 30524,
            "encoder_hidden_size": 768,
            "bos_token_id": DEC,
            "sep_token_id": SEP,
            "pad_token_id": 0,
        },
        vision_config={"image_size": 480, "layer_norm_eps": 1e-6},
    )
    model = BlipForQuestionAnswering(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.03)
    return model


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
    return [model.generate(call, pixels, **beams) for call in calls]


def main():
    """Print one row per length of answers."""
    model = base_model()
    pixels = torch.randn(1, 3, 480, 480)
    questions = [[ENC, *torch.randint(1000, 30000, (n,)).tolist(), SEP] for n in LENGTHS]
    calls = [torch.tensor([question]) for question in questions[::SAMPLED]]
    fast_model = blip.prepare(copy.deepcopy(model))
    print(f"{torch.get_num_threads()} threads; 16 answers; GFLOP are the floor of each way")
    print("tokens   one call each s   GFLOP   packed s   GFLOP   vision s   ratio")
    for max_length in (10, 3):
        beams = {"num_beams": 3, "min_length": 1, "max_length": max_length}
        vision, _ = seconds(torch.inference_mode()(lambda: fast_model.vision_model(pixels)))
        at_once = partial(blip.generate, fast_model, pixels, [questions], token_budget=2048)
        fast, packed = seconds(partial(at_once, **beams))
        slow, alone = seconds(partial(each, model, calls, pixels, beams))
        slow *= SAMPLED
        assert [row[0, 1:].tolist() for row in alone] == packed[0][::SAMPLED]
        print(
            f"{max_length - 1:6d} {slow:17.1f} {flops(16, max_length):7.0f} {fast:10.2f} "
            f"{flops(1, max_length):7.0f} {vision:10.2f} {slow / fast:7.1f}"
        )


if __name__ == "__main__":
    main()
