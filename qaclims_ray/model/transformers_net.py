"""Semantic segmentation networks of transformers, by Hub id, local folder or configuration."""

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, AutoModelForSemanticSegmentation, PreTrainedModel

from qaclims_ray.model.segmenter import Source

_auto: Any = AutoModelForSemanticSegmentation
FAILURES = (KeyError, OSError, RuntimeError, StrictDataclassError, TypeError, ValueError)
"""Errors of transformers for unknown ids, types and options, and for damaged files."""


def transformers_net(source: Source, num_labels: int, *, weights: str | None) -> PreTrainedModel:
    """Build a network that transformers' `AutoModelForSemanticSegmentation` knows.

    Args:
        source: where the configuration comes from.
        num_labels: classes and background.
        weights: None (random); `pretrained`, those of `source`; or another Hub id or folder of
            the same encoder. Layers behind the encoder that the weights lack, or have for other
            labels, start at random.

    Raises:
        ValueError: no such id or type, no connection, or an encoder that the weights do not fill.
    """
    if weights == "pretrained" and isinstance(source, str):
        weights = source
    try:
        config = _config(source, num_labels)
        if weights is None:
            return _auto.from_config(config)
        net, loading = _auto.from_pretrained(
            weights,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except FAILURES as error:
        raise ValueError(
            f"transformers has no segmentation network {source!r} with weights {weights!r}: {error}"
        ) from error
    check_loaded(loading, f"{encoder_of(net)}.", str(weights))
    return net


def encoder_of(net: nn.Module) -> str:
    """The name of the submodule below which are the pretrained layers; the rest is new.

    Raises:
        ValueError: a network that is built otherwise.
    """
    names = [name for name, _ in net.named_children()]
    prefix: Any = net.base_model_prefix
    found = [name for name in (prefix, "backbone") if name in names]
    if not found:
        raise ValueError(f"{type(net).__name__} has no encoder of its own among {names}")
    return found[0]


def check_loaded(loading: Mapping[str, Any], prefix: str, source: str) -> None:
    """Make sure that the weights filled every tensor whose name starts with `prefix`.

    Args:
        loading: of `from_pretrained(…, output_loading_info=True)`.
        prefix: of tensors that must not have stayed random.
        source: for the message.

    Raises:
        ValueError: some are lacking or of another shape.
    """
    lacking = [n for n in loading["missing_keys"] if not n.endswith("num_batches_tracked")]
    wrong = [name for name, *_ in loading["mismatched_keys"]]
    lacking, wrong = ([n for n in names if n.startswith(prefix)] for names in (lacking, wrong))
    if lacking or wrong:
        raise ValueError(
            f"the weights of {source} do not fit: lacking {sorted(lacking)[:3]}, "
            f"other shape {sorted(wrong)[:3]}"
        )


def _config(source: Source, num_labels: int) -> Any:
    if isinstance(source, str):
        config: Any = AutoConfig.from_pretrained(
            source, num_labels=num_labels, trust_remote_code=False
        )
    else:
        options: dict[str, Any] = {**source, "num_labels": num_labels}
        config = AutoConfig.for_model(**options)
    if hasattr(config, "use_auxiliary_head"):
        config.use_auxiliary_head = False  # another loss would train it, ours does not
    return config
