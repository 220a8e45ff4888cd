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

from qaclims_ray.demo.fit import MEAN, STD, draw_examples
from qaclims_ray.demo.pretrain_backbone import measure_backbone, pretrain_backbone
from qaclims_ray.demo.pretrain_clip import MASK_PROMPT_DEPTH, measure_clip, pretrain_clip
from qaclims_ray.demo.pretrain_vqa import measure_vqa, pretrain_vqa, save_vqa
from qaclims_ray.demo.words import ANSWER_WORDS, CLASSES, SCENES, STUFFS
from qaclims_ray.demo.world import Example
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.clip import load_clip, save_clip

CARD_FILE, MEASURES_FILE = "MODEL_CARD.md", "{}_measures.json"
NUM_EXAMPLES, NUM_HELD_OUT = 10_000, 400

Accuracies = dict[str, float]

_log = logging.getLogger(__name__)


class Recipe(NamedTuple):
    """How one model is made."""

    num_steps: int
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
    state = {name: value.half() for name, value in net.backbone.state_dict().items()}
    save_file(state, out / "cam_backbone.safetensors")
    net.backbone.load_state_dict(state)
    return lambda examples: measure_backbone(net, examples)


RECIPES: dict[str, Recipe] = {
    "clip": Recipe(2000, pretrain_clip, _save_clip),
    "blip": Recipe(1200, pretrain_vqa, _save_blip),
    "cam_backbone": Recipe(600, pretrain_backbone, _save_backbone),
}
"""The models by name, in the order in which they are trained."""


def pretrain(
    out: Path,
    *,
    models: Sequence[str] = tuple(RECIPES),
    seed: int = 0,
    num_examples: int = NUM_EXAMPLES,
    num_held_out: int = NUM_HELD_OUT,
    steps_scale: float = 1.0,
) -> None:
    """Train `models`, write them (half precision) and their measures below `out`, then the card.

    They learn from unbiased images of the world `seed`; the world `seed + 1` is held out. The same
    seed gives the same weights on the same machine with the same number of threads.
    `steps_scale` multiplies the number of steps of each recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    examples = draw_examples(seed, num_examples, biased=False)
    held_out = {
        "unbiased": draw_examples(seed + 1, num_held_out, biased=False),
        "biased": draw_examples(seed + 1, num_held_out, biased=True),
    }
    for name in models:
        recipe = RECIPES[name]
        num_steps = max(1, round(recipe.num_steps * steps_scale))
        start = time.perf_counter()
        net = recipe.train(examples, num_steps=num_steps, seed=seed)
        seconds = time.perf_counter() - start
        facts = {
            "seed": seed,
            "images": num_examples,
            "steps": num_steps,
            "seconds": round(seconds),
            "threads": torch.get_num_threads(),
            "parameters": sum(weight.numel() for weight in net.parameters()),
            **_versions(),
        }
        measure = recipe.save(net, out)
        accuracies = {title: measure(images) for title, images in held_out.items()}
        record = {"facts": facts, "accuracies": accuracies}
        (out / MEASURES_FILE.format(name)).write_text(json.dumps(record, indent=2) + "\n")
        _log.info("%s: %d steps in %.0f s, written to %s", name, num_steps, seconds, out)
    (out / CARD_FILE).write_text(model_card(out))


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "open_clip": open_clip.__version__,
    }


def model_card(out: Path) -> str:
    """The model card, in Markdown, of the measured models below `out`."""
    records = {
        name: json.loads((out / MEASURES_FILE.format(name)).read_text())
        for name in RECIPES
        if (out / MEASURES_FILE.format(name)).exists()
    }
    return "\n\n".join([_INTRODUCTION, *(_section(*item) for item in records.items())]) + "\n"


_INTRODUCTION = f"""# Models of the demo world

Generated by `jobs/pretrain_demo.py`; made for the demo only, of no use on photographs.
Trained from random weights, on a CPU, on procedurally drawn 96x96 images of {len(CLASSES)} classes
(3 kinds each) before {len(SCENES)} scenes made of {len(STUFFS)} stuffs, objects and scenes
independent (unbiased). {len(ANSWER_WORDS)} words can be answers. The CLIP and the BLIP learn from
the world's exact masks and answers; the CAM backbone from image-level labels of kinds and scenes.
Images are normalised with ImageNet's mean {MEAN} and standard deviation {STD}.

Accuracies are those of the files as shipped (half precision on disk, single precision at work), on
images that were not trained on; *biased* are images like those of the weakly supervised set.

- `clip/`: mask-prompted CLIP, open_clip's local layout and `mask_embeddings.safetensors`
- `blip/`: `transformers.BlipForQuestionAnswering`, greedy words of a BERT tokenizer
- `cam_backbone.safetensors`: `small_resnet` of `qaclims_ray/model/resnet.py`"""


def _section(name: str, record: dict[str, dict[str, Any]]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in record["facts"].items())
    accuracies: dict[str, Accuracies] = record["accuracies"]
    titles = list(accuracies)
    rows = [
        f"| {question} | " + " | ".join(f"{accuracies[t][question]:.3f}" for t in titles) + " |"
        for question in accuracies[titles[0]]
    ]
    head = f"| share right | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}"
    return f"## {name}\n\n{facts}\n\n" + "\n".join([head, *rows])
