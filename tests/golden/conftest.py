"""Numbers computed with the published code; data/NOTES.md says how and what each file is."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.new_clip import new_clip

DATA = Path(__file__).parent / "data"


class Golden:
    """One golden file: `meta` is its JSON, `golden[key]` an array of its npz as a tensor."""

    def __init__(self, name: str):
        self.meta: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
        path = DATA / f"{name}.npz"
        self.arrays = dict(np.load(path)) if path.is_file() else {}

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key])

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def check(self, actual: torch.Tensor, key: str) -> None:
        """`actual` equals the array within the file's own tolerances."""
        limits = self.meta["tolerances"]
        torch.testing.assert_close(
            actual.detach(),
            self[key],
            rtol=limits["rtol"],
            atol=limits["atol"],
            msg=lambda m: f"{key}: {m}",
        )


@pytest.fixture(scope="session")
def golden():
    """A loader of golden files by name."""
    return Golden


@pytest.fixture(scope="session")
def filler():
    """The module that fills weights from their canonical names, as the published run did."""
    path = Path(__file__).with_name("filler.py")
    spec = importlib.util.spec_from_file_location("golden_filler", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip_name():
    """Our parameter names to OpenAI's and OVSeg's."""

    def rename(name: str) -> str:
        return "visual.mask_embedding" if name == "mask_embeddings" else name.removeprefix("clip.")

    return rename


@pytest.fixture(scope="session")
def tiny_clip(filler, clip_name):
    """A filled, frozen CLIP by a configuration in OpenAI's words."""

    def make(config: dict[str, Any]) -> MaskPromptedClip:
        heads = config.get("vision_heads", config["vision_width"] // 64)
        clip = new_clip(
            {
                "embed_dim": config["embed_dim"],
                "quick_gelu": True,
                "vision_cfg": {
                    "image_size": config["image_resolution"],
                    "layers": config["vision_layers"],
                    "width": config["vision_width"],
                    "head_width": config["vision_width"] // heads,
                    "patch_size": config["vision_patch_size"],
                },
                "text_cfg": {
                    "context_length": config["context_length"],
                    "vocab_size": config["vocab_size"],
                    "width": config["transformer_width"],
                    "heads": config["transformer_heads"],
                    "layers": config["transformer_layers"],
                },
            },
            mask_prompt_depth=config["mask_prompt_depth"],
        )
        filler.fill_module(clip, clip_name)
        return clip.eval().requires_grad_(False)

    return make
