"""Backbones of timm: its plain vision transformers, whose patch features form a map."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from qaclims_ray.model.checkpoints import load_exactly, read_state
from qaclims_ray.model.resnet import CamBackbone
from qaclims_ray.model.shapes import Images

LARGEST_STRIDE = 16
_MODULES = ("vision_transformer", "deit")
"""Modules of timm whose networks are plain: one resolution, global attention, square patches."""
_create: Callable[..., Any] = timm.create_model
_adapted: Callable[[dict[str, Tensor], Any], dict[str, Tensor]] = checkpoint_filter_fn


class VitBackbone(CamBackbone):
    """A vision transformer without its head; each patch is a cell."""

    def __init__(self, net: Any) -> None:
        """Wrap a `VisionTransformer` of timm that was made with `dynamic_img_size=True`.

        Args:
            net: Network, whose pooling and classifier are removed in place.
        """
        super().__init__()
        norm = net.norm if isinstance(net.fc_norm, nn.Identity) else net.fc_norm
        net.prune_intermediate_layers(1, prune_head=True)
        net.norm = norm  # of pooled features in some networks, of each patch here
        self.net = net
        self.num_features = net.embed_dim
        self.stride = net.patch_embed.patch_size[0]

    def forward(self, images: Images) -> Float[Tensor, "B F h w"]:
        """Return the normalised features of the last block's patches; no class token is in them.

        Images are stretched to whole patches, by less than one, so that the map covers exactly the
        image: maps of its mirror image and of other scales lie upon it.
        """
        size = [-(-side // self.stride) * self.stride for side in images.shape[2:]]
        if size != list(images.shape[2:]):
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return self.net.forward_intermediates(images, 1, norm=True, intermediates_only=True)[0]

    def parts(self) -> list[nn.Module]:
        """Return the blocks."""
        return list(self.net.blocks)

    def load(self, weights: str | Path) -> None:
        """Load a file in timm's or DINOv2's names; its head is left out.

        Position embeddings of another grid are interpolated to the network's own.

        Raises:
            ValueError: no such file, or weights of another network.
        """
        state = _adapted(read_state(weights), self.net)
        state = {name.replace("fc_norm.", "norm.", 1): value for name, value in state.items()}
        kept = {name: value for name, value in state.items() if name in self.net.state_dict()}
        load_exactly(self.net, kept, str(weights))


def is_vit(name: str) -> bool:
    """Return whether a name of timm's is that of a plain vision transformer."""
    return timm.model_entrypoint(name).__module__.rpartition(".")[2] in _MODULES


def vit_backbone(name: str, *, pretrained: bool = False) -> VitBackbone:
    """Build a plain vision transformer of timm for images of any size.

    Args:
        name: Name of timm's, such as `vit_small_patch14_dinov2.lvd142m`.
        pretrained: With timm's weights, which are downloaded; else random.

    Raises:
        ValueError: its patches are larger than 16 pixels.
    """
    net = VitBackbone(_create(name, pretrained=pretrained, dynamic_img_size=True))
    if net.stride > LARGEST_STRIDE:
        raise ValueError(
            f"timm:{name} has patches of {net.stride} pixels, which make CAMs too coarse: choose "
            f"one with patches of at most {LARGEST_STRIDE}, such as "
            "timm:vit_small_patch14_dinov2.lvd142m"
        )
    return net
