"""Weights files: published layouts <-> ours."""

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from qaclims_ray.storage.files import read_bytes
from qaclims_ray.storage.paths import shown

State = Mapping[str, Tensor]
"""Tensors by name, as in a module's state dict."""


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or torch file, on the CPU.

    A torch file may hold them below `state_dict` or `model`, with or without the `module.` prefix
    of data-parallel training. Only tensors and plain containers are unpickled.

    Raises:
        ValueError: no such file, no tensors in it, or more than plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no weights file {str(path)!r}: give the path of an existing file")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle machine fails in any way on bytes that are none
        raise ValueError(
            f"{str(path)!r} is damaged or no file of plain tensors; nothing of it was run: "
            f"{shorten(str(error), 300)}"
        ) from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{str(path)!r} holds {type(loaded).__name__}, no tensors by name")
    for key in ("state_dict", "model"):
        loaded = loaded.get(key, loaded)
    state = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{str(path)!r} holds no tensors; its keys are {list(loaded)[:5]}")
    return without_prefix(state, "module.")


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, ValueError, LookupError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} is a damaged safetensors file: {error}") from error


def read_tensors(uri: str) -> dict[str, Tensor]:
    """Read a safetensors file at a path or URL.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    try:
        return load(read_bytes(uri))
    except (SafetensorError, LookupError, RuntimeError) as error:
        raise ValueError(
            f"{shown(uri)} is a damaged safetensors file, {error}: restore it from a copy, or make "
            "anew what it belongs to (--overwrite)"
        ) from error


def load_network(net: nn.Module, uri: str) -> None:
    """Load a trained network's own weights into it; errors as in `read_tensors`, and unlike names.

    Args:
        net: changed in place.
        uri: Path or URL of its `model.safetensors`.
    """
    load_exactly(net, read_tensors(uri), shown(uri))


def without_prefix(state: State, prefix: str) -> dict[str, Tensor]:
    """`state` with `prefix` taken from the names that have it."""
    return {name.removeprefix(prefix): value for name, value in state.items()}


def load_exactly(net: nn.Module, state: State, source: str) -> None:
    """Load `state` into `net`; each name must be in both and of the same shape.

    Counters of batches in batch norms may lack: old files don't hold them.

    Raises:
        ValueError: names or shapes differ.
    """
    own = {n: v for n, v in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    lacking = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - net.state_dict().keys())
    wrong = [n for n, v in own.items() if n in state and state[n].shape != v.shape]
    if lacking or unknown or wrong:
        raise ValueError(
            f"the weights of {source} do not fit: {len(own) - len(lacking)} of {len(own)} tensors "
            f"are there; lacking {lacking[:3]}, unknown {unknown[:3]}, other shape {wrong[:3]}"
        )
    net.load_state_dict(dict(state), strict=False)


PUBLISHED_IMAGENET = "ResNet50_Weights.IMAGENET1K_V1"


def load_backbone(backbone: nn.Module, weights: str | Path) -> None:
    """Load ImageNet weights in torchvision's or timm's names; the file's classifier is left out.

    Args:
        backbone: network to fill.
        weights: local file, a torchvision id such as `ResNet50_Weights.IMAGENET1K_V2`, or
            `imagenet`, the ResNet-50 that the published code starts from.

    Raises:
        ValueError: no such file or id, or weights of another network.
    """
    state = _torchvision_state(str(weights)) or read_state(weights)
    kept = {n: v for n, v in state.items() if not n.startswith("fc.")}
    load_exactly(backbone, kept, str(weights))


_PUBLISHED_PLACES = {
    "conv1": (1, 0),
    "bn1": (1, 1),
    "layer1": (1, 4),
    "layer2": (2, 0),
    "layer3": (3, 0),
    "layer4": (4, 0),
}
"""Stage and index in it of each part of the backbone in the published modules."""


def from_published_cam(state: State) -> dict[str, Tensor]:
    """A published CAM checkpoint (classifier or RITC) in the names of `CamNet`.

    The published modules register each layer two or three times (`resnet50`, `stage1` and
    `backbone.0`; `classifier` and `newly_added.0`); the first name is read, the copies are left.
    """
    kept = {n: v for n, v in state.items() if n.startswith(("resnet50.", "classifier."))}
    return {n.replace("resnet50.", "backbone.", 1): v for n, v in kept.items()}


def to_published_cam(state: State) -> dict[str, Tensor]:
    """The weights of a `CamNet` with ResNet-50 in all names that the published code loads."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        module, part, rest = [*name.split(".", 2), ""][:3]
        if module == "classifier":
            found |= {name: value, f"newly_added.0.{part}": value}
        else:
            stage, index = _PUBLISHED_PLACES[part]
            found[f"resnet50.{part}.{rest}"] = value
            found[f"stage{stage}.{index}.{rest}"] = value
            found[f"backbone.{stage - 1}.{index}.{rest}"] = value
    return found


def from_published_irn(state: State) -> dict[str, Tensor]:
    """A published boundary network's checkpoint in the names of `Irn`.

    Its further names of the same layers (`stage1`, `backbone.0`, `edge_layers.0`, …) and its
    constants (`path_indices0`, …) are left out.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if layer := re.match(r"fc_(edge|dp)(\d)\.", name):
            found[f"{layer[1]}_layers.{int(layer[2]) - 1}.{name[layer.end() :]}"] = value
        elif name.startswith("resnet50."):
            found[name.replace("resnet50.", "backbone.", 1)] = value
    return found


OVSEG_PREFIX = "clip_adapter.clip_model."
"""What precedes CLIP's names in OVSeg's checkpoint (`ovseg_swinbase_vitL14_ft_mpt.pth`)."""
CLIP_SETTINGS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files hold among the weights."""


def clip_state(state: State) -> tuple[dict[str, Tensor], Tensor | None]:
    """The weights of a CLIP file in open_clip's names, and OVSeg's mask embeddings if it has them.

    Reads open_clip's and OpenAI's files, and OVSeg's, whose other parts are left out.
    """
    prefixed = {n: v for n, v in state.items() if n.startswith(OVSEG_PREFIX)}
    weights = without_prefix(prefixed or state, OVSEG_PREFIX)
    weights = {n: v for n, v in weights.items() if n not in CLIP_SETTINGS}
    return weights, weights.pop("visual.mask_embedding", None)


def _torchvision_state(name: str) -> dict[str, Tensor] | None:
    if (name != "imagenet" and "_Weights." not in name) or Path(name).is_file():
        return None
    from torchvision.models import get_weight  # two seconds, which other weights need not wait for

    try:
        weights = get_weight(PUBLISHED_IMAGENET if name == "imagenet" else name)
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"torchvision has no weights {name!r}: {error}") from error
    return dict(weights.get_state_dict(progress=False, check_hash=True))
