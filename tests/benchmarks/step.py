"""One RITC step against a straightforward loop over pairs, as published.

    OMP_NUM_THREADS=1 python tests/benchmarks/step.py                    # ViT-B-32: 3 minutes
    OMP_NUM_THREADS=1 python tests/benchmarks/step.py --clip ViT-L-14    # 15 minutes, 6 GB

ResNet-50 at 512 pixels, random weights, the same for both ways, side by side in one process, on
the GPU if there is one. The loop cuts the views of one pair at a time and asks CLIP twice for each,
once for the foreground and once for the background. Both take the same optimiser step. The floor is
the multiplications and additions of the step (torch's counter), at the speed of a large matrix
product.
"""

import argparse
import time
from functools import partial

import numpy as np
import open_clip
import torch
from PIL import Image

from qaclims_ray.benchmark.measure import count_flops
from qaclims_ray.benchmark.training import (
    at_once,
    new_step,
    one_by_one,
    random_batch,
    random_clip,
    random_texts,
)
from qaclims_ray.config.train import Augment
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.train.batches import TrainingImages
from qaclims_ray.train.sets import WholeSet
from qaclims_ray.train.targets import LabelTargets

IMAGES, CLASSES, SIDE = 4, 20, 512
"""They show six pairs: VOC has 1.56 pairs an image."""
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def clock():
    """CPU seconds, which other processes disturb less than the wall clock; on GPUs the latter."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def seconds(function, rounds=3):
    """The fastest of some rounds, after one that does not count."""
    taken = []
    for _ in range(rounds + 1):
        start = clock()
        function()
        taken.append(clock() - start)
    return min(taken[1:])


def backbone_pass(net, images):
    """Forward and backward pass of the CAM network alone."""
    net(images).sum().backward()


def clip_pass(clip, num_views, calls):
    """Forward and backward pass of CLIP over as many views in so many calls."""
    for _ in range(calls):
        views = torch.randn(num_views // calls, 3, clip.image_size, clip.image_size, device=DEVICE)
        clip.encode_regions(views.requires_grad_()).sum().backward()


def peak():
    """Multiplications and additions a second of a large matrix product."""
    size = 2048 if DEVICE.type == "cpu" else 8192
    one, other = torch.randn(2, size, size, device=DEVICE)
    return 2 * size**3 / seconds(lambda: one @ other)


def data_seconds():
    """CPU seconds to decode and augment one image of 500 x 375 pixels."""
    import io

    import pyarrow as pa

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (94, 125, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG")
    table = pa.table({"name": ["a"], "image": [file.getvalue()], "labels": [[0]]})
    data = WholeSet(table, ("cat",))
    images = TrainingImages(data, LabelTargets(1), Augment(), seed=0, max_pixels=10**8)
    start = time.process_time()
    for epoch in range(40):
        images.epoch = epoch
        images[0]
    return (time.process_time() - start) / 40


def main(name):
    """Print one row per way."""
    torch.manual_seed(0)
    clip = random_clip(open_clip.get_model_config(name), DEVICE)
    net = build_cam_net("resnet50", CLASSES).to(DEVICE)
    batch = random_batch(IMAGES, CLASSES, SIDE, torch.device("cpu"))
    num_pairs = int(batch.targets.sum())
    texts = random_texts(num_pairs, clip.config["embed_dim"], DEVICE)
    ways = (one_by_one, at_once)
    steps = {way.__name__: new_step(net, partial(way, clip, texts)) for way in ways}
    first = {way: step(batch) for way, step in steps.items()}
    assert abs(first["at_once"]["total"] / first["one_by_one"]["total"] - 1) < 1e-4
    speed = peak()
    backbone = partial(backbone_pass, steps["at_once"].net, batch.images.to(DEVICE))
    parts = {way: partial(clip_pass, clip, 2 * num_pairs, calls) for way, calls in {
        "one_by_one": 2 * num_pairs, "at_once": 1}.items()}  # fmt: skip
    backbone_s = seconds(backbone)
    floors = [count_flops(backbone), count_flops(parts["at_once"])]
    print(f"{name}, {DEVICE}, {torch.get_num_threads()} threads, {speed / 1e9:.0f} GFLOP/s")
    print(
        f"floor: backbone {floors[0] / 1e9:.0f} GFLOP, CLIP {floors[1] / 1e9:.0f} GFLOP, ", end=""
    )
    print(f"together {sum(floors) / speed:.2f} s")
    print(f"data: {IMAGES * data_seconds():.3f} CPU seconds of loader processes a step")
    print("way             step s   backbone s   CLIP s   rest s   of the floor")
    for way, step in steps.items():
        step_s, clip_s = seconds(partial(step, batch)), seconds(parts[way])
        rest_s = step_s - backbone_s - clip_s
        share = sum(floors) / speed / step_s
        print(
            f"{way:14} {step_s:7.3f} {backbone_s:12.3f} {clip_s:8.3f} {rest_s:8.3f} {share:14.0%}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clip", default="ViT-B-32")
    main(parser.parse_args().clip)
