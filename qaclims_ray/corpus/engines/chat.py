"""Visual question answering by chat models: SmolVLM, Qwen-VL, LLaVA and their like.

Where the model allows it, the image and all else that the prompts of its questions start with goes
through the network once; the questions go on from its cached keys and values.
"""

import copy
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, DynamicCache
from transformers.cache_utils import DynamicLayer

from qaclims_ray.config.corpus import Chat
from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus.answers import Reply, read_answer
from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.corpus.engines.prompts import Prompts, Tokens, split_prompts
from qaclims_ray.model.pixels import copied

Inputs: TypeAlias = dict[str, Any]
"""Inputs of the model as its processor makes them: tensors by name."""

_log = logging.getLogger(__name__)
_PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""Names of inputs that hold a value per token; the others describe the image."""
_PROBES = ("What kind of cat is in the photo?", "what is under the tv monitor?", "where?")
_PROBE_PIXELS = np.arange(96 * 128 * 3).reshape(96, 128, 3).astype(np.uint8)


class Written(NamedTuple):
    """What the model wrote: token ids of some replies, and which of them the limit ended."""

    tokens: list[Tokens]
    is_cut: list[bool]


class ChatEngine:
    """Any model of transformers that takes images and chats, on one device.

    Each question becomes one user message: image, question, `instruction`. Answers are decoded
    greedily, at most `max_new_tokens` long, `batch_size` of them at once.

    Raises:
        ValueError: the processor has no chat template, or no token to pad with.
    """

    def __init__(self, section: Chat, device: str, *, trust_remote_code: bool = False) -> None:
        folder, dtype = resolve(section.model), getattr(torch, section.precision)
        network: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, trust_remote_code=trust_remote_code
        )
        self._model = network.to(device).eval()
        self._processor = _load_processor(folder, trust_remote_code)
        self._instruction = section.instruction
        self._max_new_tokens = section.max_new_tokens
        self._batch_size = section.batch_size
        ends: int | list[int] | None = self._model.generation_config.eos_token_id
        self._ends = [ends] if isinstance(ends, int) else ends or []
        self._turn = threading.Lock()  # of the device
        self._at_text = threading.Lock()  # tokenizers can't be told of padding while they are used
        self._shares = self._can_share()

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[Reply]]:
        """See `Engine`."""
        pictures = [Image.fromarray(image) for image in images]
        if self._shares:
            return [
                self._answer_from_head(picture, texts) if texts else []
                for picture, texts in zip(pictures, questions, strict=True)
            ]
        answers = self._answer_each(
            [
                (picture, text)
                for picture, texts in zip(pictures, questions, strict=True)
                for text in texts
            ]
        )
        return [[next(answers) for _ in texts] for texts in questions]

    def _answer_each(self, asked: Sequence[tuple[Image.Image, str]]) -> Iterator[Reply]:
        """Answer every question by a prompt of its own, which holds its image."""
        for start in range(0, len(asked), self._batch_size):
            batch = asked[start : start + self._batch_size]
            inputs = self._inputs(
                [picture for picture, _ in batch], [self._prompt(text) for _, text in batch]
            )
            with self._turn:
                written = self._generate(inputs)
            yield from self._read(written)

    def _answer_from_head(self, picture: Image.Image, questions: Sequence[str]) -> list[Reply]:
        """Answer all questions about one image, whose common start is encoded once."""
        prompts, inputs = self._split(picture, questions)
        with self._turn:
            cache = self._encode(prompts.head, inputs)
            written = [
                self._generate(
                    self._go_on(
                        prompts.head, cache, prompts.tails[start : start + self._batch_size]
                    )
                )
                for start in range(0, len(questions), self._batch_size)
            ]
        return [reply for some in written for reply in self._read(some)]

    def _split(self, picture: Image.Image, questions: Sequence[str]) -> tuple[Prompts, Inputs]:
        """Token ids of the prompts, and the first prompt's inputs: the image is processed once."""
        texts = [self._prompt(question) for question in questions]
        inputs = self._inputs([picture], texts[:1])
        with self._at_text:
            short: list[Tokens] = self._processor.tokenizer(texts)["input_ids"]
        full: Tokens = inputs["input_ids"][0].tolist()
        return split_prompts(short, full, self._processor.image_token_id), inputs

    @torch.inference_mode()
    def _encode(self, head: Tokens, inputs: Inputs) -> DynamicCache:
        """Keys and values of the start of a prompt, which is cut off its inputs."""
        cut = {
            name: value[:, : len(head)] if name in _PER_TOKEN else value
            for name, value in inputs.items()
        }
        cache = DynamicCache(config=self._model.config)
        self._model.base_model(**cut, past_key_values=cache, use_cache=True)
        return cache

    def _go_on(self, head: Tokens, cache: DynamicCache, tails: Sequence[Tokens]) -> Inputs:
        """Prompts for `generate`, padded between head and tail, with the head's cache for each."""
        pad: int = self._processor.tokenizer.pad_token_id
        width = max(map(len, tails))
        gaps = [width - len(tail) for tail in tails]
        ids = [[*head, *[pad] * gap, *tail] for gap, tail in zip(gaps, tails, strict=True)]
        mask = [[1] * len(head) + [0] * gap + [1] * (width - gap) for gap in gaps]
        repeated = copy.deepcopy(cache)
        repeated.batch_repeat_interleave(len(tails))
        device = self._model.device
        return {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.tensor(mask, device=device),
            "past_key_values": repeated,
        }

    @torch.inference_mode()
    def _generate(self, inputs: Inputs) -> Written:
        tokens = self._model.generate(
            **inputs, do_sample=False, max_new_tokens=self._max_new_tokens
        )
        new = tokens[:, inputs["input_ids"].shape[1] :]
        # What comes to no end of its own, the limit ended.
        ends = torch.tensor(self._ends, dtype=torch.long, device=new.device)
        return Written(new.tolist(), (~torch.isin(new, ends).any(1)).tolist())

    def _read(self, written: Written) -> list[Reply]:
        with self._at_text:
            texts = self._processor.batch_decode(written.tokens, skip_special_tokens=True)
        pairs = zip(texts, written.is_cut, strict=True)
        return [read_answer(text, is_cut=cut) for text, cut in pairs]

    @torch.inference_mode()
    def _first_logits(self, inputs: Inputs) -> Float[Tensor, "prompts vocabulary"]:
        made = self._model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=1,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return made.logits[0].float()

    def _inputs(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> Inputs:
        """Process images and prompts here, and begin to copy them to the device."""
        with self._at_text:
            made = self._processor(
                images=[[picture] for picture in pictures],
                text=list(prompts),
                padding=True,
                return_tensors="pt",
            )
        here = made.to(self._model.dtype)
        return {name: copied(value, self._model.device) for name, value in here.items()}

    def _prompt(self, question: str) -> str:
        text = f"{question} {self._instruction}"
        content = [{"type": "image"}, {"type": "text", "text": text}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )

    def _can_share(self) -> bool:
        """Whether questions that go on from a cached start get the answers of whole prompts.

        Tried out once, as models differ too much for a rule, and on an image of our own, so that
        the result depends on the model alone. A failure on whole prompts is an error.
        """
        picture = Image.fromarray(_PROBE_PIXELS)
        whole = self._inputs([picture] * len(_PROBES), [self._prompt(text) for text in _PROBES])
        expected = self._first_logits(whole)
        try:
            return self._is_same(picture, whole, expected)
        except Exception as error:
            _log.info("each question becomes a prompt of its own: %s", error)
            return False

    def _is_same(
        self,
        picture: Image.Image,
        whole: Inputs,
        expected: Float[Tensor, "prompts vocabulary"],
    ) -> bool:
        """Equal token ids, a cache that forgets nothing, and logits equal but for rounding."""
        prompts, inputs = self._split(picture, _PROBES)
        cache = self._encode(prompts.head, inputs)
        ids = [
            row[mask.bool()].tolist()
            for row, mask in zip(whole["input_ids"], whole["attention_mask"], strict=True)
        ]
        if ids != [prompts.head + tail for tail in prompts.tails]:
            return False
        if any(type(layer) is not DynamicLayer for layer in cache.layers):
            return False
        actual = self._first_logits(self._go_on(prompts.head, cache, prompts.tails))
        # The mean is steady where single logits of 16 bits are not.
        allowed = torch.finfo(self._model.dtype).eps ** 0.5 * expected.std()
        return bool((actual - expected).abs().mean() <= allowed)


def _load_processor(model: str, trust_remote_code: bool) -> Any:
    processor: Any = AutoProcessor.from_pretrained(model, trust_remote_code=trust_remote_code)
    if getattr(processor, "tokenizer", None) is None or not processor.chat_template:
        raise ValueError(
            f"{model!r} has no processor with a chat template: corpus.engine needs a model that "
            "was tuned to chat about images, often named Instruct or Chat"
        )
    if processor.tokenizer.pad_token is None:
        raise ValueError(
            f"the tokenizer of {model!r} has no pad_token, without which prompts cannot be "
            "batched: set one in a local copy's tokenizer_config.json"
        )
    # Padding goes before the prompts, so that all answers start at the same place.
    processor.tokenizer.padding_side = "left"
    return processor
