"""Images a second of CAMs of a frozen CLIP, all classes together and one class at a time."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from qaclims_ray.benchmark.measure import Way, Ways
from qaclims_ray.benchmark.sizes import Sizes, dense_clip_config, num_pairs
from qaclims_ray.benchmark.training import random_clip
from qaclims_ray.model.clip_affinity import attention_affinity, box_masks, refine_cams
from qaclims_ray.model.clip_cams import (
    BOX_THRESHOLD,
    NUM_MAPS,
    ClipCams,
    clip_cams,
    image_texts,
    normalise_cams,
)
from qaclims_ray.model.clip_vit import (
    Grid,
    Pixels,
    normalise_pixels,
    patch_grid,
    resize_positions,
    stretch_image,
)

NUM_BACKGROUNDS = 10
"""Background texts of an image."""


def fit_positions(visual: VisionTransformer, grid: Grid) -> None:
    """Resize the position embedding in place, as open_clip's forward pass wants it."""
    positions = resize_positions(visual, grid).detach().clone()
    visual.positional_embedding = nn.Parameter(positions, requires_grad=False)
    visual.grid_size = grid


def plain_cams(
    visual: VisionTransformer,
    pixels: Float[Tensor, "1 3 H W"],
    texts: Float[Tensor, "L D"],
    num_classes: int,
    logit_scale: float | Tensor,
) -> ClipCams:
    """The plain way: a forward and a backward pass for each class, as GradCAM packages have it.

    The backward pass goes as far as gradients are wanted. CLIP-ES itself begins at the last block.

    Args:
        visual: Vision tower whose positions fit the image (`fit_positions`).
        pixels: One normalised image, sides multiples of the patch size; it, or weights of the last
            block's first norm or before, must want a gradient.
        texts: L2-normalised features of its classes, then of its backgrounds.
        num_classes: How many of the texts are classes.
        logit_scale: Factor on the cosine similarities.
    """
    made = [_plain_cam(visual, pixels, texts, label, logit_scale) for label in range(num_classes)]
    return ClipCams(*map(torch.cat, zip(*made, strict=True)))


def _plain_cam(
    visual: Any, pixels: Tensor, texts: Tensor, label: int, logit_scale: float | Tensor
) -> ClipCams:
    """One class's CAM, by hooks as GradCAM packages set them."""
    kept: dict[str, Tensor] = {}
    attention: list[Tensor] = []
    blocks = visual.transformer.resblocks
    with ExitStack() as hooks, torch.enable_grad():
        for block in blocks[-NUM_MAPS:]:
            hooks.callback(block.attn.register_forward_pre_hook(_ask, with_kwargs=True).remove)
            keep_attention = partial(_keep_attention, attention)
            hooks.callback(block.attn.register_forward_hook(keep_attention).remove)
        for name, module in (("normed", blocks[-1].ln_1), ("patches", visual.ln_post)):
            hooks.callback(module.register_forward_hook(partial(_keep, kept, name)).remove)
        visual(pixels)
        kept["normed"].retain_grad()
        feature = F.normalize(kept["patches"][0, 1:].mean(dim=0) @ visual.proj, dim=0)
        (logit_scale * texts @ feature).softmax(dim=0)[label].backward()
    activation, gradient = kept["normed"].detach()[0, 1:], kept["normed"].grad
    assert gradient is not None
    visual.zero_grad()
    maps = (activation @ gradient[0, 1:].mean(dim=0)).relu().reshape(1, *visual.grid_size)
    cam = normalise_cams(normalise_cams(maps))
    affinity = attention_affinity(torch.stack(attention).mean(dim=0)[:, 1:, 1:])
    return ClipCams(cam, normalise_cams(refine_cams(cam, affinity, box_masks(cam, BOX_THRESHOLD))))


def _ask(_: nn.Module, arguments: Any, options: Any) -> Any:
    return arguments, {**options, "need_weights": True}


def _keep_attention(attention: list[Tensor], _: nn.Module, __: Any, output: Any) -> None:
    attention.append(output[1].detach())


def _keep(kept: dict[str, Tensor], name: str, _: nn.Module, __: Any, output: Tensor) -> None:
    kept[name] = output


def random_images(num_images: int, height: int, width: int) -> list[Pixels]:
    """Images of noise."""
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (num_images, height, width, 3), dtype=np.uint8))


def random_texts(
    counts: Sequence[int], width: int, device: torch.device
) -> list[Float[Tensor, "_ D"]]:
    """L2-normalised features, so many for each image."""
    rows = torch.randn(sum(counts), width, device=device)
    return list(F.normalize(rows, dim=-1).split(list(counts)))


def ways(device: torch.device, sizes: Sizes) -> Ways:
    """Both ways, in float32 as the stage has it, from decoded images on."""
    clip = random_clip(dense_clip_config(sizes), device)
    visual, (height, width) = clip.clip.visual, sizes.image
    patch = visual.conv1.kernel_size
    grid = patch_grid((height, width), patch)
    fit_positions(visual, grid)
    images = random_images(sizes.cam_images, height, width)
    counts, embed = num_pairs(sizes.cam_images), clip.config["embed_dim"]
    classes = random_texts(counts, embed, device)
    backgrounds = random_texts([NUM_BACKGROUNDS] * len(images), embed, device)
    scale = clip.clip.logit_scale.exp().detach()
    calls = cycle(zip(images, classes, backgrounds, strict=True))

    def alone() -> ClipCams:
        """One image, a class at a time."""
        image, own, others = next(calls)
        stretched = [stretch_image(image, grid, patch)]
        like = visual.positional_embedding
        pixels = normalise_pixels(stretched, clip.image_mean, clip.image_std, like)
        pixels.requires_grad_()  # so that the backward pass goes through the whole network
        return plain_cams(visual, pixels, torch.cat([own, others]), len(own), scale)

    ours = partial(clip_cams, clip, images, image_texts(classes, backgrounds))
    shape = f"of {height} x {width}"
    count = len(images)
    together = Way(
        "ours", "classes in one pass", "float32", f"{count} images {shape}", count, growth=1
    )
    plain = Way("published", "one class at a time", "float32", f"1 image {shape}", 1, growth=1)
    return {together: ours, plain: alone}
