"""Makes the demo's weights: draws the world, trains the tiny models, measures them, saves all."""

import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
import transformers
from safetensors.torch import save_file
from transformers import BlipForQuestionAnswering

from qaclims_ray.demo.pretrain import MODELS
from qaclims_ray.demo.pretrain.backbone import measure_backbone, pretrain_backbone
from qaclims_ray.demo.pretrain.clip import MASK_PROMPT_DEPTH, measure_clip, pretrain_clip
from qaclims_ray.demo.pretrain.fit import MEAN, STD, draw_examples
from qaclims_ray.demo.pretrain.vqa import measure_vqa, pretrain_vqa, save_vqa
from qaclims_ray.demo.words import ANSWER_WORDS, CLASSES, SCENES, STUFFS
from qaclims_ray.demo.world import Example
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.clip_files import load_clip, save_clip

CARD_FILE, MEASURES_FILE = "MODEL_CARD.md", "{}_measures.json"
NUM_EXAMPLES, NUM_HELD_OUT = 10_000, 400

Accuracies = dict[str, float]

_log = logging.getLogger(__name__)


class Recipe(NamedTuple):
    """How one model is made."""

    num_steps: int
    share_biased: float
    """Share of its training images where classes are mostly in their home scene."""
    train: Callable[..., Any]
    """`(examples, num_steps=, seed=)` to the network."""
    save: Callable[[Any, Path], Callable[[Sequence[Example]], Accuracies]]
    """Writes the network below a folder; returns how to measure *what was written*."""


def _save_clip(clip: Any, out: Path) -> Callable[[Sequence[Example]], Accuracies]:
    save_clip(clip.half(), out / "clip")
    saved = load_clip(str(out / "clip"), mask_prompt_depth=MASK_PROMPT_DEPTH)
    return lambda examples: measure_clip(saved, examples)


def _save_blip(blip: Any, out: Path) -> Callable[[Sequence[Example]], Accuracies]:
    save_vqa(blip, out / "blip")
    saved = BlipForQuestionAnswering.from_pretrained(out / "blip", dtype=torch.float32)
    return lambda examples: measure_vqa(saved, examples)


def _save_backbone(net: CamNet, out: Path) -> Callable[[Sequence[Example]], Accuracies]:
    state = net.backbone.half().state_dict()
    save_file(state, out / "cam_backbone.safetensors")
    net.float()
    return lambda examples: measure_backbone(net, examples)


RECIPES: dict[str, Recipe] = {
    "clip": Recipe(2000, 0.5, pretrain_clip, _save_clip),
    "blip": Recipe(1200, 0.0, pretrain_vqa, _save_blip),
    "cam_backbone": Recipe(600, 0.0, pretrain_backbone, _save_backbone),
}
"""How each of `MODELS` is made."""


def pretrain(
    out: Path,
    *,
    models: Sequence[str] = MODELS,
    seed: int = 0,
    num_examples: int = NUM_EXAMPLES,
    num_held_out: int = NUM_HELD_OUT,
    steps_scale: float = 1.0,
) -> None:
    """Train `models`, write them (half precision) and their measures below `out`, then the card.

    They learn from images of the world `seed`; the world `seed + 1` is held out. The same seed
    gives the same weights on the same machine with the same number of threads.
    `steps_scale` multiplies the number of steps of each recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    held_out = {
        "unbiased": draw_examples(seed + 1, num_held_out, biased=False),
        "biased": draw_examples(seed + 1, num_held_out, biased=True),
    }
    for name in models:
        recipe = RECIPES[name]
        facts = {
            "seed": seed,
            "images": num_examples,
            "biased images": round(recipe.share_biased * num_examples),
            "steps": max(1, round(recipe.num_steps * steps_scale)),
        }
        record = _make(recipe, out, facts, held_out)
        (out / MEASURES_FILE.format(name)).write_text(json.dumps(record, indent=2) + "\n")
    (out / CARD_FILE).write_text(model_card(out))


def _make(
    recipe: Recipe, out: Path, facts: dict[str, int], held_out: dict[str, list[Example]]
) -> dict[str, Any]:
    """Train, save and measure one model; what the card says about it."""
    seed, num_biased = facts["seed"], facts["biased images"]
    examples = draw_examples(seed, num_biased, biased=True)
    examples += draw_examples(seed, facts["images"] - num_biased, biased=False)
    start = time.perf_counter()
    net = recipe.train(examples, num_steps=facts["steps"], seed=seed)
    seconds = round(time.perf_counter() - start)
    num_parameters = sum(weight.numel() for weight in net.parameters())
    measure = recipe.save(net, out)
    _log.info("trained %d steps in %d s, written to %s", facts["steps"], seconds, out)
    return {
        "facts": {
            **facts,
            "seconds": seconds,
            "threads": torch.get_num_threads(),
            "parameters": num_parameters,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "open_clip": open_clip.__version__,
        },
        "accuracies": {title: measure(images) for title, images in held_out.items()},
    }


def model_card(out: Path) -> str:
    """The model card, in Markdown, of the measured models below `out`."""
    records = {
        name: json.loads((out / MEASURES_FILE.format(name)).read_text())
        for name in MODELS
        if (out / MEASURES_FILE.format(name)).exists()
    }
    return "\n\n".join([_INTRODUCTION, *(_section(*item) for item in records.items())]) + "\n"


_INTRODUCTION = f"""# Models of the demo world

Generated by `qaclims pretrain-demo`; made for the demo only, of no use on photographs.
Trained from random weights, on a CPU, on procedurally drawn 96x96 images of {len(CLASSES)} classes
(3 kinds each) before {len(SCENES)} scenes made of {len(STUFFS)} stuffs. {len(ANSWER_WORDS)} words
can be answers. BLIP and CAM backbone learn from images whose objects and scenes are independent
(*unbiased*), from exact answers and from image-level labels of kinds and scenes. CLIP learns from
exact regions with noisy captions and from whole images with all their words; half of its images
show each class mostly in its home scene (*biased*), and some captions of backgrounds name the
object, as captions on the web do.
Images are normalised with ImageNet's mean {MEAN} and standard deviation {STD}.

Accuracies are those of the files as shipped (half precision on disk, single precision at work), on
images that were not trained on.

- `clip/`: mask-prompted CLIP, open_clip's local layout and `mask_embeddings.safetensors`
- `blip/`: `transformers.BlipForQuestionAnswering` with a BERT tokenizer of whole words
- `cam_backbone.safetensors`: `small_resnet` of `qaclims_ray/model/resnet.py`"""


def _section(name: str, record: dict[str, dict[str, Any]]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in record["facts"].items())
    accuracies: dict[str, Accuracies] = record["accuracies"]
    titles = list(accuracies)
    rows = [
        f"| {question} | " + " | ".join(f"{accuracies[t][question]:.3f}" for t in titles) + " |"
        for question in accuracies[titles[0]]
    ]
    head = f"| share right, or mIoU | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}"
    return f"## {name}\n\n{facts}\n\n" + "\n".join([head, *rows])
