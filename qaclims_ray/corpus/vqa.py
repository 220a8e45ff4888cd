"""Visual question answering: images and questions to answers.

An `Engine` answers many questions about many images in one call. `BlipEngine` is the paper's
model. It gives the answers of the published loop over single questions, but encodes each image
once, packs all questions about an image into one sequence of the question encoder, and decodes the
beams of all questions of the batch together.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

from qaclims_ray.types import Images

UnequalImages: TypeAlias = Sequence[UInt8[np.ndarray, "_ _ 3"]]
"""RGB images, 0 to 255, each of its own height and width."""
Tokens = list[int]
"""Token ids of one question or answer."""
Blip: TypeAlias = Any
"""A `BlipForQuestionAnswering`; the types that transformers declares don't describe it."""

_MAX_QUESTION_TOKENS = 35
"""Published truncation of questions, [ENC] and [SEP] included."""


class Engine(Protocol):
    """Whatever answers questions about images."""

    def answer(self, images: UnequalImages, questions: Sequence[Sequence[str]]) -> list[list[str]]:
        """One list of answers per image, in the order of its questions."""
        ...


class TableEngine:
    """Answers looked up by the question alone: texts written by hand per class, as a baseline.

    `answers` maps each question, class name filled in, to its answer.
    """

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers

    def answer(self, images: UnequalImages, questions: Sequence[Sequence[str]]) -> list[list[str]]:
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
    the first is the start token. `token_budget` bounds memory: the padded question tokens, and with
    them the beams, that are in work at once. `compile` runs torch.compile on the image encoder.
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
        self._model = network.to(device).eval()
        heed_question_mask(self._model)
        if compile:
            self._model.vision_model.compile()
        self._processor = BlipImageProcessorPil.from_pretrained(model)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self._beams = {"num_beams": num_beams, "min_length": min_length, "max_length": max_length}
        self._token_budget = token_budget

    def answer(self, images: UnequalImages, questions: Sequence[Sequence[str]]) -> list[list[str]]:
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
        config = self._model.config.text_config
        # The converted Hub checkpoints lack [ENC] in their vocabulary: BLIP adds it after [DEC].
        start = self._tokenizer.get_vocab().get("[ENC]", config.bos_token_id + 1)
        words = self._tokenizer.encode(question, add_special_tokens=False)
        return [start, *words[: _MAX_QUESTION_TOKENS - 2], config.sep_token_id]

    def _decode(self, tokens: Tokens) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True).strip()


def heed_question_mask(model: Blip) -> None:
    """Make the answer decoder leave out padded question states, as the original BLIP can.

    transformers 5 hands the mask of the cross-attention on under a name that nobody reads, so that
    padding would be attended to. With this hook, questions of unequal length decode together.
    """

    def rename(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {"encoder_attention_mask": kwargs.get("attention_mask"), **kwargs}

    for layer in model.text_decoder.bert.encoder.layer:
        layer.crossattention.self.register_forward_pre_hook(rename, with_kwargs=True)


@torch.inference_mode()
def generate(
    model: Blip,
    pixels: Images,
    questions: Sequence[Sequence[Tokens]],
    *,
    token_budget: int,
    num_beams: int = 3,
    min_length: int = 1,
    max_length: int = 10,
) -> list[list[Tokens]]:
    """Answer all questions about all images, just as `model.generate` answers each alone.

    `model` must have gone through `heed_question_mask`. Questions start with [ENC] and end with
    [SEP]; answers come without their start and end token.
    """
    image_states = model.vision_model(pixels).last_hidden_state
    packs = [
        (image, [asked[index] for index in group])
        for image, asked in enumerate(questions)
        for group in groups([len(question) for question in asked], token_budget)
    ]
    answers: list[list[Tokens]] = [[] for _ in questions]
    for batch in groups([sum(map(len, pack)) for _, pack in packs], token_budget):
        images = [packs[index][0] for index in batch]
        asked = [packs[index][1] for index in batch]
        states, mask = encode_questions(model, image_states[images], asked)
        decoded = iter(
            decode_answers(
                model,
                states,
                mask,
                num_beams=num_beams,
                min_length=min_length,
                max_length=max_length,
            )
        )
        for image, pack in zip(images, asked, strict=True):
            answers[image] += [next(decoded) for _ in pack]
    return answers


def groups(lengths: Sequence[int], budget: int) -> list[range]:
    """Runs of consecutive indices, each within the budget when padded (number of them · longest).

    What exceeds the budget by itself stands alone.
    """
    runs: list[range] = []
    longest = 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        if runs and (index + 1 - runs[-1].start) * longest <= budget:
            runs[-1] = range(runs[-1].start, index + 1)
        else:
            runs.append(range(index, index + 1))
            longest = length
    return runs


def encode_questions(
    model: Blip,
    image_states: Float[Tensor, "packs cells width"],
    packs: Sequence[Sequence[Tokens]],
) -> tuple[Float[Tensor, "questions tokens width"], Bool[Tensor, "questions tokens"]]:
    """Padded states of all questions and where they are no padding; a pack is about one image.

    The questions of a pack lie behind one another in one sequence. They don't see each other
    (block-diagonal mask) and each starts at position 0, so that the result is that of each alone,
    while keys and values of the image are computed once per pack.
    """
    device = image_states.device
    tokens = _padded([[token for q in pack for token in q] for pack in packs], 0).to(device)
    positions = _padded([[i for q in pack for i in range(len(q))] for pack in packs], 0).to(device)
    owner = _padded([[n for n, q in enumerate(pack) for _ in q] for pack in packs], -1).to(device)
    same = owner[:, None, :, None] == owner[:, None, None, :]
    states = model.text_encoder(
        input_ids=tokens,
        position_ids=positions,
        attention_mask=additive_mask(same, image_states.dtype),
        encoder_hidden_states=image_states,
    ).last_hidden_state
    lengths = [len(question) for pack in packs for question in pack]
    alone = states[owner >= 0].split(lengths)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return pad_sequence(list(alone), batch_first=True), mask.to(device)


def decode_answers(
    model: Blip,
    states: Float[Tensor, "questions tokens width"],
    mask: Bool[Tensor, "questions tokens"],
    *,
    num_beams: int,
    min_length: int,
    max_length: int,
) -> list[Tokens]:
    """Beam search of all answers at once, without their start and end tokens."""
    config = model.config.text_config
    start = torch.full((len(states), 1), config.bos_token_id, device=states.device)
    sequences: Tensor = model.text_decoder.generate(
        input_ids=start,
        attention_mask=torch.ones_like(start),
        encoder_hidden_states=states,
        encoder_attention_mask=additive_mask(mask[:, None, None, :], states.dtype),
        eos_token_id=config.sep_token_id,
        pad_token_id=config.pad_token_id,
        do_sample=False,
        num_beams=num_beams,
        min_length=min_length,
        max_length=max_length,
    )
    return [list(takewhile(config.sep_token_id.__ne__, row)) for row in sequences[:, 1:].tolist()]


def _padded(rows: Sequence[Tokens], value: int) -> Int[Tensor, "rows longest"]:
    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value)


def additive_mask(keep: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """0 where attention is kept, else the most negative number of `dtype`."""
    zeros = torch.zeros(keep.shape, dtype=dtype, device=keep.device)
    return zeros.masked_fill(~keep, torch.finfo(dtype).min)
