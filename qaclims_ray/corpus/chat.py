"""Visual question answering by chat models: SmolVLM, Qwen-VL, LLaVA and their like."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from qaclims_ray.corpus.vqa import UnequalImages


class ChatEngine:
    """Any model of transformers that takes images and chats, a Hub id or local directory.

    Each question becomes one user message: image, question, `instruction`. Answers are decoded
    greedily, at most `max_new_tokens` long; `batch_size` of them are in work at once.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        instruction: str = "Answer with one or a few words.",
        max_new_tokens: int = 10,
        batch_size: int = 16,
    ) -> None:
        network = cast(Any, AutoModelForImageTextToText.from_pretrained(model, dtype=dtype))
        self._model = network.to(device).eval()
        self._processor = cast(Any, AutoProcessor.from_pretrained(model))
        # Padding goes before the prompts, so that all answers start at the same place.
        self._processor.tokenizer.padding_side = "left"
        self._instruction = instruction
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size

    def answer(self, images: UnequalImages, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """See `vqa.Engine`."""
        pictures = [Image.fromarray(image) for image in images]
        asked = [
            (picture, question)
            for picture, texts in zip(pictures, questions, strict=True)
            for question in texts
        ]
        said = iter(
            answer
            for start in range(0, len(asked), self._batch_size)
            for answer in self._generate(asked[start : start + self._batch_size])
        )
        return [[next(said) for _ in texts] for texts in questions]

    @torch.inference_mode()
    def _generate(self, asked: Sequence[tuple[Image.Image, str]]) -> list[str]:
        inputs = self._processor(
            images=[[picture] for picture, _ in asked],
            text=[self._prompt(question) for _, question in asked],
            padding=True,
            return_tensors="pt",
        ).to(self._model.device, self._model.dtype)
        tokens = self._model.generate(
            **inputs, do_sample=False, max_new_tokens=self._max_new_tokens
        )
        start = inputs["input_ids"].shape[1]
        texts = self._processor.batch_decode(tokens[:, start:], skip_special_tokens=True)
        return [clean(text) for text in texts]

    def _prompt(self, question: str) -> str:
        text = f"{question} {self._instruction}"
        content = [{"type": "image"}, {"type": "text", "text": text}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )


def clean(text: str) -> str:
    """The first line in lower case, without full stop: chat models answer in sentences."""
    first, _, _ = text.strip().partition("\n")
    return first.strip().rstrip(".").lower()
