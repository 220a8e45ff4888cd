"""open_clip's vision transformer from within: images of any size, patch tokens, attention.

Axes: N patches, n = N + 1 tokens (the class token first), E channels.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from qaclims_ray.model.shapes import Images

Grid = tuple[int, int]
"""Rows and columns of patches."""

TEXT_LENGTH = 77
"""Tokens of a text of CLIP's."""


Pixels = UInt8[np.ndarray, "_ _ 3"]
"""RGB, 0 to 255; images of a batch may differ in size where their patch grids are equal."""


class Tokens(NamedTuple):
    """An image as the last block of its vision transformer finds it."""

    tokens: Float[Tensor, "B n E"]
    """Input of the last block: the class token, then the patches row by row."""
    attention: Float[Tensor, "B N N"] | None
    """Attention weights from patch (row) to patch, mean over the heads and the last blocks; None
    of no block."""


def checked_vit(visual: nn.Module) -> VisionTransformer:
    """The vision tower itself, if this module can read it.

    Raises:
        ValueError: it is a CNN, a model of timm, or a transformer with attention of its own.
    """
    kind = type(visual).__name__
    if isinstance(visual, VisionTransformer):
        blocks = visual.transformer.resblocks
        if visual.attn_pool is None and all(isinstance(b, ResidualAttentionBlock) for b in blocks):
            return visual
        kind = "one with attentional pooling or custom blocks"
    raise ValueError(
        f"CLIP CAMs need open_clip's plain vision transformer, not {kind}: "
        "set the CLIP that makes the CAMs to a model such as ViT-B-16"
    )


def patch_grid(size: Sequence[int], patch_size: Sequence[int], scale: float = 1.0) -> Grid:
    """Rows and columns of patches that cover an image of `scale` times its size.

    Args:
        size: height and width of the image in pixels.
        patch_size: height and width of the vision tower's patches, its `conv1.kernel_size`.
        scale: factor on height and width.
    """
    return math.ceil(scale * size[0] / patch_size[0]), math.ceil(scale * size[1] / patch_size[1])


def stretch_image(
    image: Pixels, grid: Grid, patch_size: Sequence[int]
) -> UInt8[np.ndarray, "{grid[0]*patch_size[0]} {grid[1]*patch_size[1]} 3"]:
    """The image resized to whole patches, without padding (pillow, bicubic)."""
    size = (grid[1] * patch_size[1], grid[0] * patch_size[0])
    resized = PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BICUBIC)
    return np.asarray(resized)


def resize_positions(
    visual: VisionTransformer, grid: Grid, *, published_faults: bool = False
) -> Float[Tensor, "n E"]:
    """Position embeddings for a grid of patches: CLIP's own, resized bilinearly.

    Args:
        visual: the vision tower.
        grid: of the image.
        published_faults: round them to float16, as CLIP-ES does in float32 too.
    """
    start, patches = visual.positional_embedding[:1], visual.positional_embedding[1:]
    maps = patches.T.unflatten(1, visual.grid_size)[None]
    resized = F.interpolate(maps, grid, mode="bilinear", align_corners=False)
    positions = torch.cat([start, resized[0].flatten(1).T])
    return positions.half().to(positions.dtype) if published_faults else positions


def run_block(
    block: Any, tokens: Float[Tensor, "B n E"], normed: Float[Tensor, "B n E"], *, weights: bool
) -> tuple[Float[Tensor, "B n E"], Float[Tensor, "B n n"] | None]:
    """A block of open_clip from behind its first layer norm: its output and attention weights.

    Args:
        block: the residual block.
        tokens: its input.
        normed: `block.ln_1(tokens)`; the attention alone reads it.
        weights: whether to give the attention weights, mean over the heads; without, the
            attention is faster.
    """
    attended, attention = block.attn(normed, normed, normed, need_weights=weights)
    tokens = tokens + block.ls_1(attended)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens))), attention


def encode_patches(
    visual: VisionTransformer, images: Images, num_maps: int, *, published_faults: bool = False
) -> Tokens:
    """Tokens before the last block, and attention of the last `num_maps` blocks, that included.

    Args:
        visual: the vision tower, in evaluation mode.
        images: normalised as this CLIP wants it, sides multiples of the patch size.
        num_maps: number of blocks whose attention is averaged; all if there are fewer.
        published_faults: round positions to float16 and, as CLIP-ES takes 76 patches and the class
            token for the 77 tokens of a text, run the last block twice on such an image.
    """
    blocks: Any = visual.transformer.resblocks
    *before, last = blocks
    tokens = _embed(visual, images, published_faults=published_faults)
    if published_faults and tokens.shape[1] == TEXT_LENGTH:
        before.append(last)
    maps: list[Tensor] = []
    for depth, block in enumerate(before):
        wanted = depth > len(before) - num_maps
        tokens, attention = run_block(block, tokens, block.ln_1(tokens), weights=wanted)
        maps += [] if attention is None else [attention]
    if not num_maps:
        return Tokens(tokens, None)
    normed = last.ln_1(tokens)
    maps.append(last.attn(normed, normed, normed, need_weights=True)[1])
    return Tokens(tokens, torch.stack(maps).mean(dim=0)[:, 1:, 1:])


def patch_values(block: Any, normed: Float[Tensor, "B n E"]) -> Float[Tensor, "B N E"]:
    """What a block's attention reads from each patch, as if that patch alone were attended to.

    Source: Zhou et al., "Extract Free Dense Labels from CLIP" (ECCV 2022), section 3.2.

    Args:
        block: a residual block of open_clip's.
        normed: `block.ln_1` of its input, the class token first.
    """
    attention = block.attn
    weight, bias = (part.chunk(3)[2] for part in (attention.in_proj_weight, attention.in_proj_bias))
    return attention.out_proj(F.linear(normed[:, 1:], weight, bias))


def pool_patches(visual: VisionTransformer, tokens: Float[Tensor, "B n E"]) -> Float[Tensor, "B D"]:
    """CLIP features of the mean patch, the class token left out; not normalised."""
    if visual.final_ln_after_pool:
        return visual.ln_post(tokens[:, 1:].mean(dim=1)) @ visual.proj
    return visual.ln_post(tokens)[:, 1:].mean(dim=1) @ visual.proj


def normalise_pixels(
    images: Sequence[Pixels], mean: Sequence[float], std: Sequence[float], like: Tensor
) -> Images:
    """Images of one size as a batch, normalised per channel, with `like`'s device and dtype."""
    pixels = torch.from_numpy(np.stack(images)).to(like.device).permute(0, 3, 1, 2)
    offset, factor = (like.new_tensor(values)[:, None, None] for values in (mean, std))
    return (pixels.to(like.dtype) / 255 - offset) / factor


def _embed(
    visual: VisionTransformer, images: Images, *, published_faults: bool
) -> Float[Tensor, "B n E"]:
    maps = visual.conv1(images)
    grid = (maps.shape[2], maps.shape[3])
    start = visual.class_embedding.expand(len(maps), 1, -1)
    tokens = torch.cat([start, maps.flatten(2).transpose(1, 2)], dim=1)
    positions = resize_positions(visual, grid, published_faults=published_faults)
    return visual.ln_pre(tokens + positions)
