"""CLIP CAMs of all classes in one pass against one class at a time with a full backward pass.

    python tests/benchmarks/clip_cams.py [SIDE ...]      # pixels; 224 and 336 if none is given

ViT-B/16 with random weights, one square image, 2 classes, 10 background texts, one thread, side by
side in one process; CPU seconds, the least of 3 rounds. The plain way runs open_clip's own forward
pass for each class with torch's attention weights hooked, as GradCAM packages do; its backward pass
ends at all weights (`full`), or at the last block, which is all that GradCAM needs (`short`). The
difference is that of the CAMs before the affinity: random weights make the refined ones so flat
that they show rounding.
"""

import sys
import time
from contextlib import ExitStack

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.clip_affinity import attention_affinity, box_masks, refine_cams
from qaclims_ray.model.clip_cams import (
    BOX_THRESHOLD,
    NUM_MAPS,
    ClipCams,
    clip_cams,
    image_texts,
    normalise_cams,
)
from qaclims_ray.model.clip_vit import normalise_pixels, resize_positions

ROUNDS, NUM_CLASSES, NUM_BACKGROUNDS = 3, 2, 10


def plain_cams(visual, pixels, texts, logit_scale):
    """CAMs of an image that fits the position embedding, one forward and backward pass a class."""
    made = [plain_cam(visual, pixels, texts, c, logit_scale) for c in range(NUM_CLASSES)]
    return ClipCams(*map(torch.cat, zip(*made, strict=True)))


def plain_cam(visual, pixels, texts, label, logit_scale):
    """One class's CAM before and after the affinity."""
    kept, attention = {}, []
    blocks = visual.transformer.resblocks
    with ExitStack() as hooks:
        for block in blocks[-NUM_MAPS:]:
            asks = block.attn.register_forward_pre_hook(
                lambda _, args, kwargs: (args, {**kwargs, "need_weights": True}), with_kwargs=True
            )
            keeps = block.attn.register_forward_hook(lambda *a: attention.append(a[-1][1].detach()))
            hooks.callback(asks.remove)
            hooks.callback(keeps.remove)
        for name, module in (("normed", blocks[-1].ln_1), ("patches", visual.ln_post)):
            keeps = module.register_forward_hook(lambda *a, name=name: kept.update({name: a[-1]}))
            hooks.callback(keeps.remove)
        with torch.enable_grad():
            visual(pixels)
            feature = F.normalize(kept["patches"][0, 1:].mean(dim=0) @ visual.proj, dim=0)
            kept["normed"].retain_grad()
            (logit_scale * texts @ feature).softmax(dim=0)[label].backward()
    activation, gradient = kept["normed"].detach()[0, 1:], kept["normed"].grad[0, 1:]
    visual.zero_grad()
    cam = (activation @ gradient.mean(dim=0)).relu().reshape(1, *visual.grid_size)
    cam = normalise_cams(normalise_cams(cam))
    affinity = attention_affinity(torch.stack(attention).mean(dim=0)[:, 1:, 1:])
    return cam, normalise_cams(refine_cams(cam, affinity, box_masks(cam, BOX_THRESHOLD)))


def seconds(function):
    """CPU seconds, which other processes disturb less than the wall clock, and result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def at_size(clip, side):
    """The CLIP with its position embedding resized, so that open_clip's forward pass takes it."""
    grid = (side // 16, side // 16)
    positions = resize_positions(clip.clip.visual, grid)
    clip.clip.visual.positional_embedding = torch.nn.Parameter(positions.detach())
    clip.clip.visual.grid_size = grid
    return clip


def main(sides):
    """Print one row per image size."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = open_clip.get_model_config("ViT-B-16")
    model = open_clip.create_model("ViT-B-16", force_quick_gelu=True)
    clip = MaskPromptedClip(model, open_clip.get_tokenizer("ViT-B-16"), config).eval()
    rows = F.normalize(torch.randn(NUM_CLASSES + NUM_BACKGROUNDS, config["embed_dim"]), dim=-1)
    texts = image_texts([rows[:NUM_CLASSES]], [rows[NUM_CLASSES:]])
    scale = clip.clip.logit_scale.exp().item()
    print(" side   full s   short s   ours s   full/ours   short/ours   largest difference")
    for side in sides:
        visual = at_size(clip, side).clip.visual
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        pixels = normalise_pixels([image], clip.image_mean, clip.image_std, visual.conv1.weight)
        plain = lambda: plain_cams(visual, pixels, rows, scale)  # noqa: B023, E731
        ways = {
            "full": (True, plain),
            "short": (False, plain),
            "ours": (False, lambda: clip_cams(clip, [image], texts)),  # noqa: B023
        }
        least, results = dict.fromkeys(ways, float("inf")), {}
        for _ in range(ROUNDS):
            for way, (trained, function) in ways.items():
                visual.requires_grad_(trained)
                visual.transformer.resblocks[-1].ln_1.requires_grad_(True)
                spent, results[way] = seconds(function)
                least[way] = min(least[way], spent)
        full, short, ours = least.values()
        error = max(
            (results[way].cams - results["ours"].cams).abs().max() for way in ("full", "short")
        )
        print(
            f"{side:5d} {full:8.2f} {short:9.2f} {ours:8.2f} {full / ours:11.1f} "
            f"{short / ours:12.1f} {error:20.1e}"
        )


if __name__ == "__main__":
    main([int(side) for side in sys.argv[1:]] or [224, 336])
