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

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from qaclims_ray.benchmark.clip_cams import fit_positions, plain_cams
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.clip_cams import clip_cams, image_texts
from qaclims_ray.model.clip_vit import normalise_pixels

ROUNDS, NUM_CLASSES, NUM_BACKGROUNDS = 3, 2, 10


def seconds(function):
    """CPU seconds, which other processes disturb less than the wall clock, and result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


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
        visual = clip.clip.visual
        fit_positions(visual, (side // 16, side // 16))
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        pixels = normalise_pixels([image], clip.image_mean, clip.image_std, visual.conv1.weight)
        plain = lambda: plain_cams(visual, pixels, rows, NUM_CLASSES, scale)  # noqa: B023, E731
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
