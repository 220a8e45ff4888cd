"""Visual question answering by BLIP, all questions about a batch at once; see `model/blip.py`."""

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

from qaclims_ray.config import corpus as config
from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.corpus.engines.blip_memory import token_budget
from qaclims_ray.images.decoded import Fit
from qaclims_ray.model.blip import Blip, Tokens, compile_vision, generate, prepare
from qaclims_ray.model.pixels import Levels, look_up, to_device

_MAX_QUESTION_TOKENS = 35
"""Published truncation of questions, [ENC] and [SEP] included."""
_REMEMBERED = 2**16
"""Questions, and answers, whose tokens a process remembers: the same ones come again and again, and
a tokenizer takes 50 microseconds for each."""


class BlipEngine:
    """BLIP on one device, as the section says; the published settings are its defaults.

    Args:
        section: The section `corpus.engine`.
        device: `cpu` or `cuda`.
        gpu_share: Share of the GPU's memory that is this process's.
    """

    def __init__(self, section: config.Blip, device: str, gpu_share: float = 1.0) -> None:
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
        self._beams = {
            "num_beams": section.num_beams,
            "min_length": 1,
            "max_length": section.max_length,
        }
        self._token_budget = section.token_budget or token_budget(
            self._model, gpu_share, **self._beams
        )
        self._turn = threading.Lock()  # of the device
        self._encode = lru_cache(_REMEMBERED)(self._tokens)
        self._decode = lru_cache(_REMEMBERED)(self._text)

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[str]]:
        """See `Engine`. An image without questions costs nothing."""
        asked = [index for index, texts in enumerate(questions) if texts]
        answers: list[list[str]] = [[] for _ in questions]
        if not asked:
            return answers
        pixels = self._sent([images[index] for index in asked])
        encoded = [[self._encode(text) for text in questions[index]] for index in asked]
        with self._turn:
            tokens = generate(
                self._model,
                self._pixels(pixels),
                encoded,
                token_budget=self._token_budget,
                **self._beams,
            )
        for index, rows in zip(asked, tokens, strict=True):
            answers[index] = [self._decode(tuple(row)) for row in rows]
        return answers

    def _sent(self, images: UnequalImages) -> UInt8[Tensor, "B side side 3"]:
        """Begin to copy images to the device; it may be busy with the batch before."""
        return to_device(np.stack([self._fit(image) for image in images]), self._model.device)

    def _pixels(self, sent: UInt8[Tensor, "B side side 3"]) -> Float[Tensor, "B 3 side side"]:
        return look_up(sent, self._levels).to(self._model.dtype)

    def _tokens(self, question: str) -> Tokens:
        """[ENC], the question, [SEP]."""
        words = self._tokenizer.encode(question, add_special_tokens=False)
        return [self._start, *words[: _MAX_QUESTION_TOKENS - 2], self._end]

    def _text(self, tokens: Sequence[int]) -> str:
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
