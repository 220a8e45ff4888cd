"""BLIP's visual question answering (Li et al., ICML 2022), all questions about a batch at once.

The answers are those of the published loop over single questions, but each image is encoded once,
all questions about an image lie in one sequence of the question encoder, and the beams of all
questions of the batch are decoded together.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from qaclims_ray.model.pixels import copied
from qaclims_ray.model.shapes import Images

Tokens = list[int]
"""Token ids of one question or answer."""
Blip: TypeAlias = Any
"""A `BlipForQuestionAnswering`; the types that transformers declares don't describe it."""


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
        (image, group)
        for image, asked in enumerate(questions)
        for group in groups([len(question) for question in asked], token_budget)
    ]
    sizes = [sum(len(questions[image][index]) for index in group) for image, group in packs]
    answers: list[list[Tokens]] = [[[] for _ in asked] for asked in questions]
    for batch in groups(sizes, token_budget):
        chosen = [packs[number] for number in batch]
        about = image_states[_indices([image for image, _ in chosen], pixels.device)]
        tokens = [[questions[image][index] for index in group] for image, group in chosen]
        states, mask = encode_questions(model, about, tokens)
        places = [(image, index) for image, group in chosen for index in group]
        lengths = [len(questions[image][index]) for image, index in places]
        for group in groups(lengths, token_budget):
            part = _indices(group, pixels.device)
            longest = max(lengths[number] for number in group)
            decoded = decode_answers(model, states[part, :longest], mask[part, :longest], **beams)
            for (image, index), answer in zip(map(places.__getitem__, group), decoded, strict=True):
                answers[image][index] = answer
    return answers


def groups(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group elements within a budget when padded (number of them · longest), evenly.

    There are as few groups as the order of their lengths allows, and the largest is as small as it
    can be then: what is left over does not run alone. An element that exceeds the budget by itself
    stands alone.

    Returns:
        Indices of the elements of each group, groups of shorter elements first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    fewest = len(_runs(lengths, order, budget))
    low, high = 0, budget  # the smallest budget that needs no more groups, by halving
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(_runs(lengths, order, middle)) == fewest
        low, high = (low, middle) if fits else (middle, high)
    return [sorted(run) for run in _runs(lengths, order, high)]


def _runs(lengths: Sequence[int], order: Sequence[int], budget: int) -> list[list[int]]:
    """Cut elements, in an order from short to long, into runs within a budget when padded."""
    runs: list[list[int]] = []
    for index in order:
        if runs and (len(runs[-1]) + 1) * lengths[index] <= budget:
            runs[-1].append(index)
        else:
            runs.append([index])
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
    tokens = _padded([[token for q in pack for token in q] for pack in packs], 0)
    positions = _padded([[i for q in pack for i in range(len(q))] for pack in packs], 0)
    owner = _padded([[n for n, q in enumerate(pack) for _ in q] for pack in packs], -1)
    same = owner[:, None, :, None] == owner[:, None, None, :]
    states = model.text_encoder(
        input_ids=copied(tokens, device),
        position_ids=copied(positions, device),
        attention_mask=additive_mask(copied(same, device), image_states.dtype),
        encoder_hidden_states=image_states,
    ).last_hidden_state
    lengths = [len(question) for pack in packs for question in pack]
    # Where no padding is, is looked up here: the device would have to be waited for.
    used = copied(torch.nonzero(owner.flatten() >= 0)[:, 0], device)
    alone = states.flatten(0, 1)[used].split(lengths)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return pad_sequence(list(alone), batch_first=True), copied(mask, device)


def _indices(numbers: Sequence[int], device: torch.device) -> Int[Tensor, "N"]:
    return copied(torch.tensor(numbers), device)


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
