"""Visual question answering by vLLM, in this process and on its GPUs."""

import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from PIL import Image as pil

from qaclims_ray.config.corpus import Vllm
from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus.answers import Reply, read_answer
from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.run.faults import StageError
from qaclims_ray.storage.errors import attempt

Message = dict[str, Any]
"""A message of a chat, as OpenAI's API and vLLM take it."""

_FORMATS = {"parts": "openai", "text": "string"}
"""Our words for vLLM's `chat_template_content_format`."""


class VllmEngine:
    """Any vision-language model of vLLM, by its offline interface `vllm.LLM.chat`.

    Each question is a chat of its own: image, question, `instruction`. vLLM schedules the chats of
    all images together; as its prefix cache keeps what chats begin with, an image is encoded once.
    Answers are greedy and at most `max_new_tokens` long.

    A vLLM that dies under a batch (GPU out of memory, a crash) fails it and is started again by the
    next call, so that `run.faults.IsolatedMap` finds the image that did it.

    Args:
        section: The section `corpus.engine`.
        num_gpus: GPUs that this process has; 1 also where it shares one.

    Raises:
        ValueError: vLLM is not installed, or `engine_kwargs` want another number of GPUs.
    """

    def __init__(self, section: Vllm, num_gpus: int) -> None:
        self._options = llm_options(section, num_gpus)
        if find_spec("vllm") is None:
            raise ValueError(
                "corpus.engine.kind: vllm needs the package vllm: pip install 'qaclims_ray[vllm]', "
                "or choose kind: server for a vLLM that runs elsewhere, or kind: chat for "
                "transformers"
            )
        self._vllm = import_module("vllm")
        self._dead = import_module("vllm.v1.engine.exceptions").EngineDeadError
        self._llm: Any = self._vllm.LLM(**self._options)
        self._sampling = self._vllm.SamplingParams(
            temperature=0.0, max_tokens=section.max_new_tokens
        )
        self._turn = threading.Lock()  # vLLM's own interface is for one thread
        self._instruction = section.instruction
        self._format = _FORMATS[section.content]

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[Reply] | ValueError]:
        """See `Engine`.

        Raises:
            StageError: vLLM has died and can't be started again.
        """
        chats = [
            chat_about(picture, f"{question} {self._instruction}")
            for picture, asked in zip(map(pil.fromarray, images), questions, strict=True)
            for question in asked
        ]
        with self._turn:
            outputs = iter(self._chat(chats))
        rows = [[next(outputs) for _ in asked] for asked in questions]
        return [attempt(lambda row: [reply_of(output) for output in row], row) for row in rows]

    def _chat(self, chats: list[list[Message]]) -> list[Any]:
        """What the model wrote in each chat, in their order."""
        if not chats:
            return []
        if self._llm is None:
            try:
                self._llm = self._vllm.LLM(**self._options)
            except Exception as error:
                raise StageError(f"vLLM died and can't be started again: {error}") from error
        try:
            outputs = self._llm.chat(
                chats, self._sampling, use_tqdm=False, chat_template_content_format=self._format
            )
        except self._dead:
            self._llm = None
            raise
        return [output.outputs[0] for output, _ in zip(outputs, chats, strict=True)]


def reply_of(output: Any) -> Reply:
    """Read a `CompletionOutput` of vLLM.

    Raises:
        ValueError: vLLM gave the chat up.
    """
    if output.finish_reason not in ("stop", "length"):
        raise ValueError(f"vLLM ended a chat with {output.finish_reason!r} instead of an answer")
    return read_answer(output.text, is_cut=output.finish_reason == "length")


def chat_about(picture: pil.Image, text: str) -> list[Message]:
    """A chat of one message; the image comes first, so that all chats about it begin alike."""
    content = [{"type": "image_pil", "image_pil": picture}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def llm_options(section: Vllm, num_gpus: int) -> dict[str, Any]:
    """Arguments of `vllm.LLM`: ours, replaced by `engine_kwargs` of the same name.

    Raises:
        ValueError: they spread the model over another number of GPUs than there are.
    """
    stages: int = section.engine_kwargs.get("pipeline_parallel_size", 1)
    options: dict[str, Any] = {
        "model": resolve(section.model),
        "dtype": section.precision,
        "enable_prefix_caching": True,
        "limit_mm_per_prompt": {"image": 1},
        "tensor_parallel_size": max(1, num_gpus // stages),
        **section.engine_kwargs,
    }
    wanted: int = options["tensor_parallel_size"] * stages
    if wanted != num_gpus:
        raise ValueError(
            f"corpus.engine.engine_kwargs spread the model over {wanted} GPUs "
            f"(tensor_parallel_size x pipeline_parallel_size), but an actor has {num_gpus} "
            f"(compute.corpus.num_gpus): set compute.corpus.num_gpus={wanted}, or leave "
            "tensor_parallel_size out"
        )
    return options
