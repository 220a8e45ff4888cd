"""Answers a second of BLIP: all questions about an image at once, and one question per call."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle, takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import BlipConfig, BlipForQuestionAnswering

from qaclims_ray.benchmark.measure import Kind, Way, Ways
from qaclims_ray.benchmark.sizes import Sizes, num_pairs
from qaclims_ray.model import blip

ENC, DEC, SEP = 30523, 30522, 102
LENGTHS = (8, 8, 7, 7, 8, 8, 6, 6, 6, 6, 7, 8, 8, 7, 7, 7)
"""Tokens of the 6 + 10 published questions about a class of one token, [ENC] and [SEP] but."""
BEAMS = {"num_beams": 3, "min_length": 1, "max_length": 10}
"""Published. Random weights never end an answer: each is as long as may be, 9 tokens."""
_TOKEN_BUDGET = 2048


def random_blip(narrower: Mapping[str, int] | None = None, *, image_size: int = 480) -> blip.Blip:
    """Random weights in the dimensions of blip-vqa-capfilt-large, or `narrower` ones."""
    text = {
        "num_attention_heads": 12,
        "vocab_size": 30524,
        "encoder_hidden_size": (narrower or {}).get("hidden_size", 768),
        "bos_token_id": DEC,
        "sep_token_id": SEP,
        "pad_token_id": 0,
        **(narrower or {}),
    }
    vision = {"image_size": image_size, "layer_norm_eps": 1e-6, **(narrower or {})}
    config = BlipConfig(text_config=text, vision_config=vision)
    model: Any = BlipForQuestionAnswering(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.03, generator=generator)
    return model


def random_questions(num_pairs: int) -> list[blip.Tokens]:
    """Token ids of the 16 questions about each of some classes of an image."""
    generator = torch.Generator().manual_seed(num_pairs)
    return [
        [ENC, *torch.randint(1000, 30000, (length,), generator=generator).tolist(), SEP]
        for length in LENGTHS * num_pairs
    ]


def answer_one(model: blip.Blip, image: Tensor, question: blip.Tokens, **beams: int) -> blip.Tokens:
    """The published way: one question about one image (1, 3, side, side) per call."""
    row = model.generate(torch.tensor([question], device=image.device), image, **beams)[0, 1:]
    return list(takewhile(SEP.__ne__, row.tolist()))


@torch.no_grad()
def answer_batch(
    model: blip.Blip, image: Tensor, questions: Sequence[blip.Tokens], **beams: int
) -> list[blip.Tokens]:
    """A careful hand's way: the image encoded once, the questions padded to one batch."""
    seen = model.vision_model(image).last_hidden_state.expand(len(questions), -1, -1)
    longest = max(map(len, questions))
    tokens = torch.tensor([[*one, *[0] * (longest - len(one))] for one in questions])
    present = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in questions])
    tokens, present = tokens.to(image.device), present.to(image.device)
    asked = model.text_encoder(
        input_ids=tokens,
        attention_mask=present,
        encoder_hidden_states=seen,
        encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=image.device),
        return_dict=False,
    )[0]
    start = torch.full((len(questions), 1), DEC, device=image.device)
    rows = model.text_decoder.generate(
        input_ids=start,
        encoder_hidden_states=asked,
        encoder_attention_mask=present,
        bos_token_id=DEC,
        eos_token_id=SEP,
        pad_token_id=0,
        **beams,
    )
    return [list(takewhile(SEP.__ne__, row[1:].tolist())) for row in rows]


def fast_copy(model: blip.Blip, precision: str) -> blip.Blip:
    """The model as `corpus.engines.BlipEngine` runs it."""
    return blip.prepare(copy.deepcopy(model).to(getattr(torch, precision)))


def ways(device: torch.device, sizes: Sizes) -> Ways:
    """Both ways; on GPUs ours in float16, as the configs say, and in float32."""
    model = random_blip(sizes.blip, image_size=sizes.blip_side).to(device)
    side = model.config.vision_config.image_size
    pixels = torch.randn(sizes.vqa_images, 3, side, side, device=device)
    questions = [random_questions(n) for n in num_pairs(sizes.vqa_images)]
    pairs = zip(pixels, questions, strict=True)
    calls = cycle((image[None], question) for image, asked in pairs for question in asked)
    published = {
        Way("published", "one question a call", "float32", "1 question", 1): (
            lambda: answer_one(model, *next(calls), **BEAMS)
        )
    }
    ours = partial(_ours, model, pixels, questions)
    if device.type == "cpu":
        return {**ours("ours", "float32"), **published}
    return {**ours("ours", "float16"), **published, **ours("option", "float32")}


def _ours(
    model: blip.Blip,
    pixels: Tensor,
    questions: Sequence[list[blip.Tokens]],
    kind: Kind,
    precision: str,
) -> Ways:
    fast = fast_copy(model, precision)
    run = partial(
        blip.generate, fast, pixels.to(fast.dtype), questions, token_budget=_TOKEN_BUDGET, **BEAMS
    )
    count = sum(map(len, questions))
    batch = f"{len(pixels)} images, {count} questions"
    return {Way(kind, "all of an image at once", precision, batch, count): run}
