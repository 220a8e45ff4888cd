"""Weights of whole networks whose last layer may be for other classes."""

import re
from pathlib import Path

from huggingface_hub import hf_hub_download
from torch import nn

from qaclims_ray.model.checkpoints import State, load_exactly

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
"""Files of a saved network, as all libraries of the Hub name them."""


def find_weights(source: str, *, legal: list[str]) -> Path:
    """The local path of a weights file, given itself, its folder or a Hub id.

    Of a Hub id the configuration is downloaded too, beside the weights.

    Args:
        source: file, folder with a `model.safetensors`, or Hub id.
        legal: other values of the option, for the message.

    Raises:
        ValueError: no such file, folder or id, or no connection.
    """
    path = Path(source)
    if path.exists():
        return path / WEIGHTS if path.is_dir() else path
    message = f"weights {source!r} are none of {legal}, no file and no folder"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise ValueError(message)
    try:
        hf_hub_download(source, CONFIG)
        return Path(hf_hub_download(source, WEIGHTS))
    except OSError as error:
        raise ValueError(f"{message}, and the Hub has no such weights: {error}") from error


def load_but_head(net: nn.Module, state: State, head: str, source: str) -> None:
    """Load `state` into `net`; the head keeps its own tensors unless all of them fit.

    Args:
        net: changed in place.
        state: must have every other tensor of `net` and no more.
        head: prefix of the names of the head's tensors.
        source: of the state, for the message.

    Raises:
        ValueError: names or shapes differ elsewhere.
    """
    own = {name: value for name, value in net.state_dict().items() if name.startswith(head)}
    fits = all(name in state and state[name].shape == value.shape for name, value in own.items())
    load_exactly(net, state if fits else {**state, **own}, source)
