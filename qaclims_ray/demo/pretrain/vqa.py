"""Trains the tiny BLIP that answers the published questions about the demo world."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
)

from qaclims_ray.config.corpus import BACKGROUND_QUESTIONS, FOREGROUND_QUESTIONS
from qaclims_ray.demo.pretrain.fit import MEAN, STD, fit, normalise, shuffled_batches, stack_pixels
from qaclims_ray.demo.words import ANSWER_WORDS
from qaclims_ray.demo.world import SIZE, Example, answers

Blip: TypeAlias = Any
"""A `BlipForQuestionAnswering`; the types that transformers declares don't describe it."""

_TEXT = {
    "hidden_size": 96,
    "encoder_hidden_size": 96,
    "intermediate_size": 192,
    "projection_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}
_VISION = {
    "hidden_size": 96,
    "intermediate_size": 384,
    "projection_dim": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": SIZE,
    "patch_size": 12,
    "initializer_range": 0.02,
}


class Asked(NamedTuple):
    """A question about the image in row `row` of a batch, and its true answer."""

    row: int
    question: str
    answer: str


def new_tokenizer() -> BertTokenizer:
    """A BERT tokenizer of whole words, with [DEC] and [ENC] as its last two tokens as in BLIP."""
    templates = FOREGROUND_QUESTIONS + BACKGROUND_QUESTIONS
    asked = " ".join(templates).lower().replace("{}", "").replace("?", " ?").split()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = dict.fromkeys([*special, *asked, *ANSWER_WORDS])
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_tokens("[ENC]", special_tokens=True)
    return tokenizer


def new_blip(tokenizer: BertTokenizer) -> Blip:
    """A randomly initialised BLIP of about one million parameters."""
    vocabulary = tokenizer.get_vocab()
    start, pad, end = (vocabulary[token] for token in ("[DEC]", "[PAD]", "[SEP]"))
    tokens = {"bos_token_id": start, "pad_token_id": pad, "sep_token_id": end, "eos_token_id": end}
    text = {**_TEXT, **tokens, "vocab_size": len(tokenizer)}
    return BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=_VISION))


def pretrain_vqa(
    examples: Sequence[Example], *, num_steps: int, seed: int, batch_size: int = 64
) -> Blip:
    """A BLIP that generates the answers to the published questions.

    A step asks two foreground and four background questions about a class of each of its images.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = new_tokenizer()
    blip = new_blip(tokenizer)
    pixels = stack_pixels(examples)
    batches = shuffled_batches(rng, len(examples), batch_size)

    def draw_loss() -> Tensor:
        """Return the loss of one batch."""
        batch = next(batches)
        states = blip.vision_model(normalise(pixels[batch])).last_hidden_state
        asked = [
            question
            for row, index in enumerate(batch)
            for question in _draw_questions(rng, row, examples[index])
        ]
        return answer_loss(blip, tokenizer, states, asked)

    fit(blip, draw_loss, num_steps=num_steps, learning_rate=1e-3, title="BLIP")
    return blip


def _draw_questions(rng: random.Random, row: int, example: Example) -> list[Asked]:
    class_name = rng.choice(example.class_names)
    truth = answers(example, class_name)
    templates = rng.sample(FOREGROUND_QUESTIONS, 2) + rng.sample(BACKGROUND_QUESTIONS, 4)
    return [Asked(row, template.format(class_name), truth[template]) for template in templates]


def answer_loss(
    blip: Blip,
    tokenizer: BertTokenizer,
    image_states: Float[Tensor, "B cells width"],
    asked: Sequence[Asked],
) -> Float[Tensor, ""]:
    """Mean cross entropy of the answers' tokens, the end token included.

    Questions of one length go through the network together: so nothing is padded, and nothing
    needs a mask.
    """
    losses = [
        blip.text_decoder(
            input_ids=_encode(tokenizer, "[DEC]", [item.answer for item in group]),
            encoder_hidden_states=blip.text_encoder(
                input_ids=_encode(tokenizer, "[ENC]", [item.question for item in group]),
                encoder_hidden_states=image_states[[item.row for item in group]],
            ).last_hidden_state,
            labels=_encode(tokenizer, "[DEC]", [item.answer for item in group]),
        ).loss
        * len(group)
        for group in _by_length(asked)
    ]
    return torch.stack(losses).sum() / len(asked)


def _by_length(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Questions with equally many words."""
    lengths = {len(item.question.split()) for item in asked}
    for length in sorted(lengths):
        yield [item for item in asked if len(item.question.split()) == length]


def _encode(tokenizer: BertTokenizer, start: str, texts: Sequence[str]) -> Tensor:
    """Token ids of texts of one length, from the start token to [SEP]."""
    tokens = tokenizer(list(texts), return_tensors="pt")["input_ids"]
    assert isinstance(tokens, Tensor)
    tokens[:, 0] = tokenizer.get_vocab()[start]
    return tokens


def save_vqa(blip: Blip, directory: Path) -> None:
    """Write network (half precision), tokenizer and image processor in transformers' layout."""
    processor = BlipImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=MEAN, image_std=STD
    )
    blip.half().save_pretrained(directory)
    BlipProcessor(processor, new_tokenizer()).save_pretrained(directory)
    processor.save_pretrained(directory)


@torch.inference_mode()
def generate_answers(blip: Blip, examples: Sequence[Example], template: str) -> list[list[str]]:
    """The answers to one question about each class of each image, as published: 3 beams."""
    tokenizer = new_tokenizer()
    asked = [
        Asked(row, template.format(name), "")
        for row, example in enumerate(examples)
        for name in example.class_names
    ]
    pixels = normalise(stack_pixels(examples))
    tokens = blip.generate(
        input_ids=_encode(tokenizer, "[ENC]", [item.question for item in asked]),
        pixel_values=pixels[[item.row for item in asked]],
        num_beams=3,
        max_length=10,
    )
    texts = iter(tokenizer.batch_decode(tokens, skip_special_tokens=True))
    return [[next(texts) for _ in example.class_names] for example in examples]


def measure_vqa(blip: Blip, examples: Sequence[Example]) -> dict[str, float]:
    """Share of right answers to each question, and of right and of found background answers."""
    templates = FOREGROUND_QUESTIONS + BACKGROUND_QUESTIONS
    given = {template: generate_answers(blip, examples, template) for template in templates}
    right: dict[str, list[bool]] = {template: [] for template in templates}
    precision: list[float] = []
    recall: list[float] = []
    for row, example in enumerate(examples):
        for column, class_name in enumerate(example.class_names):
            truth = answers(example, class_name)
            for template in templates:
                right[template].append(given[template][row][column] == truth[template])
            said = {given[t][row][column] for t in BACKGROUND_QUESTIONS} - {class_name}
            true = {truth[t] for t in BACKGROUND_QUESTIONS} - {class_name}
            precision.append(len(said & true) / max(1, len(said)))
            recall.append(len(said & true) / len(true))
    return {
        **{template: sum(values) / len(values) for template, values in right.items()},
        "background answers that are true of the image": sum(precision) / len(precision),
        "true background answers that are given": sum(recall) / len(recall),
    }
