"""CAMs of a frozen CLIP vision transformer, without any training.

GradCAM for the probability of each class among an image's own class and background texts, then
class-aware attention affinity. Source: Lin et al., "CLIP is Also an Efficient Segmenter" (CVPR
2023); published code linyq2117/CLIP-ES, `generate_cams_voc12.py`.

`published_faults` repeats three faults of that code: positions are rounded to float16, an image of
76 patches runs the last block twice, and boxes never reach the last row and column.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.clip_affinity import (
    PatchMaps,
    attention_affinity,
    box_masks,
    refine_cams,
)
from qaclims_ray.model.clip_vit import (
    Pixels,
    checked_vit,
    encode_patches,
    normalise_pixels,
    patch_grid,
    pool_patches,
    run_block,
    stretch_image,
)
from qaclims_ray.model.regions import Pairs
from qaclims_ray.model.shapes import Images

MAXIMUM_OFFSET = 1e-7
"""Added to the maximum that each map is divided by."""
NUM_MAPS = 8
"""Last blocks whose attention is averaged, of ViT-B/16's 12."""
BOX_THRESHOLD = 0.4
"""Share of a CAM's maximum above which its boxes lie."""


class ImageTexts(NamedTuple):
    """Text features that compete within each image, its classes first, then its backgrounds."""

    features: Float[Tensor, "B L D"]
    """0 for padding."""
    is_class: Bool[Tensor, "B L"]
    present: Bool[Tensor, "B L"]
    """False for padding."""

    @property
    def pairs(self) -> Pairs:
        """The pairs (image, position of the class among its classes), ordered."""
        return Pairs(*torch.nonzero(self.is_class, as_tuple=True))


class ClassGradients(NamedTuple):
    """What GradCAM is made of, for each pair (image, class)."""

    logits: Float[Tensor, "P L"]
    """Cosine similarities of the image and its texts times CLIP's scale; -inf for padding."""
    activations: Float[Tensor, "P N E"]
    """Patches behind the first layer norm of the last block."""
    gradients: Float[Tensor, "P N E"]
    """Gradient of the class's probability with respect to them."""


class ClipCams(NamedTuple):
    """CAMs of the pairs of a batch, in [0, 1]; `split` by the number of classes of each image."""

    cams: PatchMaps
    """Before the affinity."""
    refined: PatchMaps
    """After it; without affinity, the same maps."""


def image_texts(
    classes: Sequence[Float[Tensor, "_ D"]], backgrounds: Sequence[Float[Tensor, "_ D"]]
) -> ImageTexts:
    """Text features of several images, padded to one number of texts.

    Args:
        classes: features of the classes of each image, any length; none: the image has no CAM.
        backgrounds: features of the background texts of each image, any length. Without one, a sole
            class has probability 1 whatever the image, and so a CAM of zeros.
    """
    features = pad_sequence(
        [torch.cat(both) for both in zip(classes, backgrounds, strict=True)], batch_first=True
    )
    position = torch.arange(features.shape[1], device=features.device)
    num_classes, num_backgrounds = (
        torch.tensor([len(rows) for rows in texts], device=features.device)[:, None]
        for texts in (classes, backgrounds)
    )
    return ImageTexts(features, position < num_classes, position < num_classes + num_backgrounds)


@torch.no_grad()
def clip_cams(
    clip: MaskPromptedClip,
    images: Sequence[Pixels],
    texts: ImageTexts,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    num_maps: int = NUM_MAPS,
    box_threshold: float = BOX_THRESHOLD,
    published_faults: bool = False,
) -> ClipCams:
    """CAMs of the classes of each image, with one forward pass for all classes of an image.

    Views (scales, mirror images) are averaged on the patch grid of scale 1, then normalised. A sole
    patch has nothing to stand out from: an image within one has maps of zeros. Not to be called
    under `torch.inference_mode`, which forbids gradients.

    Args:
        clip: with a vision transformer of open_clip's, frozen, in evaluation mode.
        images: with one patch grid at each scale (`patch_grid`), as images of one size have.
        texts: of each image (`image_texts`).
        scales: factors on height and width. Published: 1 alone.
        flip: add the mirror image of each scale. Published: no.
        num_maps: number of last blocks whose attention is averaged; 0: no affinity.
        box_threshold: as for `box_masks`.
        published_faults: repeat CLIP-ES's faults (module docstring).

    Returns:
        Maps on the patch grid of scale 1, in the order of `texts.pairs`; `resize_cams` enlarges.

    Raises:
        ValueError: the CLIP has no such vision transformer.
    """
    visual = checked_vit(clip.clip.visual)
    grid = patch_grid(images[0].shape[:2], visual.conv1.kernel_size)
    if not texts.is_class.any():
        return ClipCams(*texts.features.new_zeros(2, 0, *grid))
    views: list[Tensor] = []
    for scale in scales:
        view = _view(clip, visual, images, scale)
        for mirrored in (False, True)[: 1 + flip]:
            maps = view_cams(
                visual,
                view.flip(-1) if mirrored else view,
                texts,
                logit_scale=clip.clip.logit_scale.exp(),
                num_maps=num_maps,
                box_threshold=box_threshold,
                published_faults=published_faults,
            )
            both = torch.stack(maps)
            views.append(_resize(both.flip(-1) if mirrored else both, grid))
    cams, refined = torch.stack(views).mean(dim=0)
    return ClipCams(normalise_cams(cams), normalise_cams(refined))


@torch.no_grad()
def view_cams(
    visual: VisionTransformer,
    images: Images,
    texts: ImageTexts,
    *,
    logit_scale: float | Tensor,
    num_maps: int = NUM_MAPS,
    box_threshold: float = BOX_THRESHOLD,
    published_faults: bool = False,
) -> ClipCams:
    """CAMs of one view of each image.

    Args:
        visual: a vision transformer (`checked_vit`), in evaluation mode.
        images: normalised as this CLIP wants it, sides multiples of the patch size.
        texts: of each image.
        logit_scale: factor on the cosine similarities, CLIP's `logit_scale.exp()`.
        num_maps: number of last blocks whose attention is averaged; 0: no affinity.
        box_threshold: as for `box_masks`.
        published_faults: repeat CLIP-ES's faults (module docstring).

    Returns:
        Maps on the patch grid: CAMs in [0, 1], refined ones not yet normalised.
    """
    tokens, attention = encode_patches(visual, images, num_maps, published_faults=published_faults)
    gradients = class_gradients(visual, tokens, texts, logit_scale)
    grid = patch_grid(images.shape[2:], visual.conv1.kernel_size)
    # Twice, as CLIP-ES: where a map is hardly above the offset, once does not reach 1.
    cams = normalise_cams(normalise_cams(grad_cams(gradients).unflatten(1, grid)))
    if attention is None:
        return ClipCams(cams, cams)
    masks = box_masks(cams, box_threshold, published_faults=published_faults)
    affinity = attention_affinity(attention)[texts.pairs.image]
    return ClipCams(cams, refine_cams(cams, affinity, masks))


def class_gradients(
    visual: VisionTransformer,
    tokens: Float[Tensor, "B n E"],
    texts: ImageTexts,
    logit_scale: float | Tensor,
) -> ClassGradients:
    """One pass forth and back through the last block, for all pairs of a batch together.

    The gradient runs through the attention only: the residual path passes by the layer norm.

    Args:
        visual: the vision tower, in evaluation mode.
        tokens: input of its last block.
        texts: of each image.
        logit_scale: factor on the cosine similarities.
    """
    image, label = texts.pairs
    block: Any = visual.transformer.resblocks[-1]
    own = tokens[image]
    # torch's attention swaps the first two axes; laid out in that order, the tokens go through its
    # input projection as one matrix product. Otherwise they would in a product each.
    normed = block.ln_1(own).detach().transpose(0, 1).contiguous().transpose(0, 1)
    with torch.enable_grad():
        # A view, as torch cannot count the FLOP of gradients by a leaf.
        normed = normed.requires_grad_().view_as(normed)
        features = pool_patches(visual, run_block(block, own, normed, weights=False)[0])
        cosines = F.normalize(texts.features, dim=-1)[image] @ F.normalize(features)[..., None]
        logits = (logit_scale * cosines[..., 0]).masked_fill(~texts.present[image], -torch.inf)
        probabilities = logits.softmax(dim=1).gather(1, label[:, None])
        (gradients,) = torch.autograd.grad(probabilities.sum(), normed)
    return ClassGradients(logits.detach(), normed.detach()[:, 1:], gradients[:, 1:])


def grad_cams(parts: ClassGradients) -> Float[Tensor, "P N"]:
    """Activations weighted by their channel's mean gradient, summed, negative values set to 0.

    Source: Selvaraju et al., "Grad-CAM" (ICCV 2017), equations 1 and 2.
    """
    weights = parts.gradients.mean(dim=1)
    return (parts.activations @ weights[..., None])[..., 0].relu()


def normalise_cams(cams: PatchMaps) -> PatchMaps:
    """Each map shifted to minimum 0 and divided by its maximum plus 1e-7."""
    cams = cams - cams.amin(dim=(1, 2), keepdim=True)
    return cams / (cams.amax(dim=(1, 2), keepdim=True) + MAXIMUM_OFFSET)


def resize_cams(cams: PatchMaps, height: int, width: int) -> Float[Tensor, "P H W"]:
    """Maps enlarged bilinearly to the size of their image in pixels."""
    return _resize(cams[:, None], (height, width))[:, 0]


def _resize(maps: Float[Tensor, "X P h w"], size: tuple[int, int]) -> Float[Tensor, "X P H W"]:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _view(
    clip: MaskPromptedClip, visual: VisionTransformer, images: Sequence[Pixels], scale: float
) -> Float[Tensor, "B 3 _ _"]:
    patch = visual.conv1.kernel_size
    stretched = [
        stretch_image(image, patch_grid(image.shape[:2], patch, scale), patch) for image in images
    ]
    return normalise_pixels(
        stretched, clip.image_mean, clip.image_std, like=visual.positional_embedding
    )
