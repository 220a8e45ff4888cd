"""Visual question answering by BLIP (Li et al., ICML 2022), all questions about a batch at once.

The answers are those of the published loop over single questions, but each image is encoded once,
all questions about an image lie in one sequence of the question encoder, and the beams of all
questions of the batch are decoded together.
"""

from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any, TypeAlias, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

from qaclims_ray.config import corpus as config
from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus.engines.base import UnequalImages
from qaclims_ray.model.shapes import Images

Tokens = list[int]
"""Token ids of one question or answer."""
Blip: TypeAlias = Any
"""A `BlipForQuestionAnswering`; the types that transformers declares don't describe it."""

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
        self._processor = BlipImageProcessorPil.from_pretrained(folder)
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


def prepare(model: Blip) -> Blip:
    """Make the model, in place, fit for padded questions and faster; its answers stay the same.

    transformers 5 hands the mask of the answer decoder's cross-attention on under a name that
    no code reads, so that padded question states would be attended to: a hook renames it. The image
    encoder gets PyTorch's fused attention.
    """

    def rename(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {"encoder_attention_mask": kwargs.get("attention_mask"), **kwargs}

    for layer in model.text_decoder.bert.encoder.layer:
        layer.crossattention.self.register_forward_pre_hook(rename, with_kwargs=True)
    for layer in model.vision_model.encoder.layers:
        layer.self_attn = _FusedAttention(layer.self_attn)
    return model


class _FusedAttention(nn.Module):
    """The self-attention of BLIP's image encoder, its weights shared."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.qkv = attention.qkv
        self.projection = attention.projection

    def forward(
        self, hidden_states: Float[Tensor, "B cells width"], **_: Any
    ) -> tuple[Float[Tensor, "B cells width"], None]:
        """The layer's output, and no attention maps."""
        heads = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.projection(mixed.transpose(1, 2).flatten(2)), None


@torch.inference_mode()
def compile_vision(model: Blip) -> None:
    """Compile the image encoder, in place, for batches of any size.

    Raises:
        ValueError: no compiler, or it fails.
    """
    vision = model.vision_model
    vision.compile(dynamic=True)
    side: int = model.config.vision_config.image_size
    try:
        # Two images, as a batch of one is a case of its own to the compiler.
        vision(torch.zeros(2, 3, side, side, device=model.device, dtype=model.dtype))
    except RuntimeError as error:
        raise ValueError(
            f"corpus.engine.compile: torch.compile fails on {model.device}: {error}\n"
            "Install a C++ compiler (and Triton for a GPU), or set compile: false."
        ) from error


@torch.inference_mode()
def generate(
    model: Blip,
    pixels: Images,
    questions: Sequence[Sequence[Tokens]],
    *,
    token_budget: int,
    **beams: int,
) -> list[list[Tokens]]:
    """Answer all questions about all images, just as `model.generate` answers each alone.

    `model` must have gone through `prepare`. Questions start with [ENC] and end with [SEP]; answers
    come without their start and end token. At most `token_budget` padded question tokens are
    encoded, or decoded, at once. `beams` are transformers' `num_beams`, `min_length` and
    `max_length`.
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
        lengths: list[int] = mask.sum(1).tolist()
        decoded: list[Tokens] = []
        for group in groups(lengths, token_budget):
            part = slice(group.start, group.stop), slice(max(lengths[group.start : group.stop]))
            decoded += decode_answers(model, states[part], mask[part], **beams)
        tokens = iter(decoded)
        for image, pack in zip(images, asked, strict=True):
            answers[image] += islice(tokens, len(pack))
    return answers


def groups(lengths: Sequence[int], budget: int) -> list[range]:
    """Cut a sequence into runs within the budget when padded (number of them · longest).

    An element that exceeds the budget by itself stands alone.

    Returns:
        Ranges of consecutive indices.
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
    """Encode packs of questions, each about one image.

    The questions of a pack lie behind one another in one sequence. They don't see each other
    (block-diagonal mask) and each starts at position 0, so that the result is that of each alone,
    while keys and values of the image are computed once per pack.

    Returns:
        Padded states of all questions, and where they are no padding.
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
    **beams: int,
) -> list[Tokens]:
    """Search all answers at once by beams; they come without their start and end tokens."""
    tokens = model.config.text_config
    start = torch.full((len(states), 1), tokens.bos_token_id, device=states.device)
    sequences: Tensor = model.text_decoder.generate(
        input_ids=start,
        attention_mask=torch.ones_like(start),
        encoder_hidden_states=states,
        encoder_attention_mask=additive_mask(mask[:, None, None, :], states.dtype),
        eos_token_id=tokens.sep_token_id,
        pad_token_id=tokens.pad_token_id,
        do_sample=False,
        **beams,
    )
    return [list(takewhile(tokens.sep_token_id.__ne__, row)) for row in sequences[:, 1:].tolist()]


def _padded(rows: Sequence[Tokens], value: int) -> Int[Tensor, "rows longest"]:
    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value)


def additive_mask(keep: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """0 where attention is kept, else the most negative number of `dtype`."""
    zeros = torch.zeros(keep.shape, dtype=dtype, device=keep.device)
    return zeros.masked_fill(~keep, torch.finfo(dtype).min)
