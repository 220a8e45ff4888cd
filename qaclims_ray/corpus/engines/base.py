"""Visual question answering: images and questions to answers.

An `Engine` answers many questions about many images in one call. `BlipEngine` is the paper's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

from qaclims_ray.corpus.engines.blip import Blip, Tokens, compile_vision, generate, prepare

UnequalImages: TypeAlias = Sequence[UInt8[np.ndarray, "_ _ 3"]]
"""RGB images, 0 to 255, each of its own height and width."""

_MAX_QUESTION_TOKENS = 35
"""Published truncation of questions, [ENC] and [SEP] included."""


@runtime_checkable
class Engine(Protocol):
    """Whatever answers questions about images."""

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> Sequence[list[str] | ValueError]:
        """One list of answers per image, in the order of its questions; or what is wrong with it.

        Args:
            images: RGB pixels.
            questions: About each of them, class names filled in.
            names: Of the images, for engines that look answers up.
        """
        ...


class TableEngine:
    """Answers looked up by the question alone: texts written by hand per class, as a baseline.

    `answers` maps each question, class name filled in, to its answer.
    """

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[str]]:
        """See `Engine`. Raises ValueError for a question that the table lacks."""
        unknown = {question for asked in questions for question in asked} - self._answers.keys()
        if unknown:
            raise ValueError(
                f"the answer table has no answer to {sorted(unknown)[0]!r} "
                f"({len(unknown)} such questions); add it, question spelled exactly so"
            )
        return [[self._answers[question] for question in asked] for asked in questions]


class BlipEngine:
    """BLIP for visual question answering (Li et al., ICML 2022), a Hub id or local directory.

    Published settings are the defaults: 3 beams, answers of at most `max_length` tokens, of which
    the first is the start token. `token_budget` bounds memory: the padded question tokens that are
    encoded at once, and those that are decoded at once with all their beams. `compile` has
    torch.compile speed the image encoder up; it takes its time in the constructor.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        num_beams: int = 3,
        min_length: int = 1,
        max_length: int = 10,
        token_budget: int = 2048,
        compile: bool = False,  # noqa: A002
    ) -> None:
        network = cast(Blip, BlipForQuestionAnswering.from_pretrained(model, dtype=dtype))
        self._model = prepare(network.to(device).eval())
        if compile:
            compile_vision(self._model)
        self._processor = BlipImageProcessorPil.from_pretrained(model)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        config = self._model.config.text_config
        # The converted Hub checkpoints lack [ENC] in their vocabulary: BLIP adds it after [DEC].
        self._start = self._tokenizer.get_vocab().get("[ENC]", config.bos_token_id + 1)
        self._end = config.sep_token_id
        self._beams = {"num_beams": num_beams, "min_length": min_length, "max_length": max_length}
        self._token_budget = token_budget

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
            token_budget=self._token_budget,
            **self._beams,
        )
        for index, rows in zip(asked, tokens, strict=True):
            answers[index] = [self._decode(row) for row in rows]
        return answers

    def _pixels(self, images: UnequalImages) -> Float[Tensor, "B 3 side side"]:
        pixels: Tensor = self._processor(
            list(images), return_tensors="pt", input_data_format="channels_last"
        )["pixel_values"]
        return pixels.to(self._model.device, self._model.dtype)

    def _encode(self, question: str) -> Tokens:
        """[ENC], the question, [SEP]."""
        words = self._tokenizer.encode(question, add_special_tokens=False)
        return [self._start, *words[: _MAX_QUESTION_TOKENS - 2], self._end]

    def _decode(self, tokens: Tokens) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
