"""Visual question answering by BLIP, all questions about a batch at once; see `model/blip.py`."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

from qaclims_ray.config import corpus as config
from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.images.decoded import Fit
from qaclims_ray.model.blip import Blip, Tokens, compile_vision, generate, prepare
from qaclims_ray.model.pixels import Levels, look_up, to_device

_MAX_QUESTION_TOKENS = 35
"""Published truncation of questions, [ENC] and [SEP] included."""


class BlipEngine:
    """BLIP on one device, as the section says; the published settings are its defaults."""

    def __init__(self, section: config.Blip, device: str) -> None:
        folder, dtype = resolve(section.model), getattr(torch, section.precision)
        network = cast(Blip, BlipForQuestionAnswering.from_pretrained(folder, dtype=dtype))
        self._model = prepare(network.to(device).eval())
        if section.compile:
            compile_vision(self._model)
        processor = BlipImageProcessorPil.from_pretrained(folder)
        self._fit, self._levels = _fit(processor), _levels(processor).to(device)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokens = self._model.config.text_config
        # The converted Hub checkpoints lack [ENC] in their vocabulary: BLIP adds it after [DEC].
        self._start = self._tokenizer.get_vocab().get("[ENC]", tokens.bos_token_id + 1)
        self._end = tokens.sep_token_id
        self._section = section

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[str]]:
        """See `Engine`. An image without questions costs nothing."""
        asked = [index for index, texts in enumerate(questions) if texts]
        answers: list[list[str]] = [[] for _ in questions]
        if not asked:
            return answers
        tokens = generate(
            self._model,
            self._pixels([images[index] for index in asked]),
            [[self._encode(text) for text in questions[index]] for index in asked],
            token_budget=self._section.token_budget,
            num_beams=self._section.num_beams,
            min_length=1,
            max_length=self._section.max_length,
        )
        for index, rows in zip(asked, tokens, strict=True):
            answers[index] = [self._decode(row) for row in rows]
        return answers

    def _pixels(self, images: UnequalImages) -> Float[Tensor, "B 3 side side"]:
        pixels = to_device(np.stack([self._fit(image) for image in images]), self._model.device)
        return look_up(pixels, self._levels).to(self._model.dtype)

    def _encode(self, question: str) -> Tokens:
        """[ENC], the question, [SEP]."""
        words = self._tokenizer.encode(question, add_special_tokens=False)
        return [self._start, *words[: _MAX_QUESTION_TOKENS - 2], self._end]

    def _decode(self, tokens: Tokens) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True).strip()


def image_fit(section: config.Blip) -> Fit:
    """Return how images come to the size that the model sees; tasks on CPUs do it ahead of it."""
    return _fit(BlipImageProcessorPil.from_pretrained(resolve(section.model)))


def _fit(processor: Any) -> Fit:
    return Fit(processor.size["height"], processor.size["width"], int(processor.resample))


def _levels(processor: Any) -> Levels:
    """Ask a processor of images what each level of a channel is to the model."""
    levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    made = processor(
        levels, do_resize=False, return_tensors="pt", input_data_format="channels_last"
    )
    return made["pixel_values"][0, :, 0]
