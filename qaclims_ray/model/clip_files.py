"""A CLIP from its files, whoever wrote them, and into a folder that open_clip reads too."""

import difflib
import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn
from typing_extensions import TypedDict

from qaclims_ray.model.checkpoints import clip_state, load_exactly, read_state
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.torchscript import is_torchscript, read_torchscript
from qaclims_ray.storage.records import require_record

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
EMBEDDINGS_FILE = "mask_embeddings.safetensors"
"""Files of a CLIP directory: the first two are open_clip's own local layout, the third is ours."""


def load_clip(
    model: str,
    pretrained: str | None = None,
    *,
    mask_prompt_depth: int = 0,
    trust_remote_code: bool = False,
) -> MaskPromptedClip:
    """A frozen CLIP in evaluation mode.

    QuickGELU is used where the pretrained tag, OpenAI's own file (a TorchScript archive) or OVSeg's
    asks for it. No other file tells its activation: for weights that want QuickGELU choose the
    model name that ends in `-quickgelu`.

    Args:
        model: an open_clip model name, or a directory in open_clip's local layout (`save_clip`).
        pretrained: for a model name: a pretrained tag, which is downloaded, or a weights file of
            open_clip's, OpenAI's or OVSeg's names. For a directory: None.
        mask_prompt_depth: how many times masked-out patches are replaced. The mask embeddings
            come from the directory or from the OVSeg file; other weights have none.
        trust_remote_code: whether Python files that lie in the directory, or come with a tokenizer
            of the Hub, may be run.

    Raises:
        ValueError: unknown model or tag, weights that don't fit, fewer mask embeddings than asked.
    """
    if Path(model).is_dir():
        clip, config, embeddings = _from_directory(Path(model))
        name = f"local-dir:{model}"
    elif model not in open_clip.list_models():
        close = difflib.get_close_matches(model, open_clip.list_models(), n=3)
        raise ValueError(f"{model!r} is neither a directory nor an open_clip model; near: {close}")
    elif pretrained is not None and Path(pretrained).is_file():
        clip, config, embeddings = _from_file(model, Path(pretrained))
        name = model
    else:
        clip, config, embeddings = *_from_tag(model, pretrained), None
        name = model
    # The folder's own configuration may say this of itself; ours replaces it.
    of_hub = config["text_cfg"].get("hf_tokenizer_name")
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code} if of_hub else {}
    tokenizer = open_clip.get_tokenizer(name, **options)
    result = MaskPromptedClip(clip, tokenizer, config, mask_prompt_depth)
    if result.mask_embeddings is not None:
        if embeddings is None:
            raise ValueError(
                f"mask_prompt_depth is {mask_prompt_depth}, but these weights have no mask "
                "embeddings: set it to 0, or give OVSeg's checkpoint or a directory of save_clip"
            )
        result.mask_embeddings.data.copy_(_first(embeddings, mask_prompt_depth))
    return result.eval().requires_grad_(False)


def _first(embeddings: Tensor, depth: int) -> Tensor:
    if depth > len(embeddings):
        raise ValueError(
            f"mask_prompt_depth is {depth}, but the weights hold {len(embeddings)} mask embeddings"
        )
    return embeddings[:depth]


class _Config(TypedDict):
    model_cfg: dict[str, Any]


def _from_directory(directory: Path) -> tuple[nn.Module, dict[str, Any], Tensor | None]:
    if not (directory / CONFIG_FILE).is_file():
        raise ValueError(f"{str(directory)!r} is no CLIP directory: it has no {CONFIG_FILE}")
    config = require_record(str(directory / CONFIG_FILE), _Config)["model_cfg"]
    try:
        clip = open_clip.create_model(f"local-dir:{directory}", require_pretrained=True)
    except Exception as error:  # what reads damaged files fails in any way
        raise ValueError(
            f"{str(directory)!r} is no CLIP directory, or damaged: {type(error).__name__}: {error}"
        ) from error
    path = directory / EMBEDDINGS_FILE
    embeddings = read_state(path) if path.is_file() else {"mask_embeddings": None}
    if "mask_embeddings" not in embeddings:
        raise ValueError(f"{str(path)!r} holds no tensor mask_embeddings: give the file of a CLIP")
    return clip, config, embeddings["mask_embeddings"]


def _from_file(model: str, path: Path) -> tuple[nn.Module, dict[str, Any], Tensor | None]:
    scripted = is_torchscript(path)
    state, embeddings = clip_state(read_torchscript(path) if scripted else read_state(path))
    # Archives are OpenAI's mark, mask embeddings OVSeg's, which is OpenAI's CLIP trained further.
    config = _config(model, quick_gelu=scripted or embeddings is not None)
    with _no_warnings():  # open_clip would warn of random weights, which are replaced here
        clip = open_clip.create_model(model, force_quick_gelu=config["quick_gelu"])
    load_exactly(clip, state, str(path))
    return clip, config, embeddings


@contextmanager
def _no_warnings() -> Generator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)


def _from_tag(model: str, tag: str | None) -> tuple[nn.Module, dict[str, Any]]:
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag is None or tag not in tags:
        raise ValueError(f"{model} has no weights {tag!r}: give a file or one of the tags {tags}")
    quick_gelu = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
    config = _config(model, quick_gelu=bool(quick_gelu))
    try:
        return open_clip.create_model(model, tag, force_quick_gelu=config["quick_gelu"]), config
    except RuntimeError as error:
        twin = f"{model}-quickgelu"
        named = twin if config["quick_gelu"] and twin in open_clip.list_models() else model
        raise ValueError(
            f"the weights {tag!r} of {model} could not be had ({error}): fetch them where there is "
            f"a connection, and give the file instead of the tag, with the model {named!r}"
        ) from error


def _config(model: str, *, quick_gelu: bool) -> dict[str, Any]:
    config = open_clip.get_model_config(model)
    assert config is not None
    return {**config, "quick_gelu": quick_gelu or config.get("quick_gelu", False)}


def empty_tower(model: str) -> nn.Module:
    """The vision tower of a CLIP without its weights, on the meta device.

    Args:
        model: an open_clip model name, or a directory in open_clip's local layout.

    Raises:
        ValueError: there is neither.
    """
    if (Path(model) / CONFIG_FILE).is_file():
        config = require_record(str(Path(model) / CONFIG_FILE), _Config)["model_cfg"]
    else:
        config = open_clip.get_model_config(model)
    if config is None:
        raise ValueError(f"{model!r} is neither a CLIP directory nor an open_clip model")
    text: Any = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
    kept = {key: config[key] for key in ("embed_dim", "vision_cfg")}
    with torch.device("meta"):
        return open_clip.CLIP(**kept, text_cfg=text).visual


def save_clip(clip: MaskPromptedClip, directory: str | Path) -> None:
    """Write a directory that `load_clip` and open_clip (`local-dir:`) read.

    It holds the configuration, the weights, the mask embeddings if there are any, and the
    tokenizer unless it is open_clip's built-in one.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": clip.config, "preprocess_cfg": clip.clip.visual.preprocess_cfg}
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2))
    state = {name: value.contiguous() for name, value in clip.clip.state_dict().items()}
    save_file(state, directory / WEIGHTS_FILE)
    if clip.mask_embeddings is not None:
        save_file({"mask_embeddings": clip.mask_embeddings.data}, directory / EMBEDDINGS_FILE)
    if isinstance(clip.tokenizer, HFTokenizer):
        clip.tokenizer.save_pretrained(directory)
