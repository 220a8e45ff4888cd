"""What a VQA actor's own thread does for an image before the device has it, and what it sends.

    python tests/benchmarks/feeding.py [--busy MILLISECONDS]

Beside one another in one process, photographs of 375 x 500 pixels for BLIP at 480: the image
processor of transformers in the actor, as before, and our way: tasks on CPUs have resized the
pixels, the actor stacks them, a table on the device normalises them. The share of the time in which
a device would be busy that takes so many milliseconds an image follows from it.
"""

import argparse
import time

import numpy as np
import torch
from transformers import BlipImageProcessorPil

from qaclims_ray.corpus.engines.blip import _fit, _levels
from qaclims_ray.model.pixels import look_up, to_device

SIDE, BATCH, ROUNDS = 480, 16, 8
HERE = torch.device("cpu")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=float, default=8.0, help="of the device, for an image")
    busy = parser.parse_args().busy
    processor = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    fit, levels = _fit(processor), _levels(processor)
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (375, 500, 3), dtype=np.uint8) for _ in range(BATCH)]
    fitted = [fit(photo) for photo in photos]  # what tasks on CPUs hand over

    def before():
        made = processor(photos, return_tensors="pt", input_data_format="channels_last")
        return made["pixel_values"]

    def ours():
        return to_device(np.stack([fit(image) for image in fitted]), HERE)

    torch.testing.assert_close(look_up(ours(), levels), before(), rtol=0, atol=0)
    print(f"way      ms of the thread   MB sent   busy at {busy:g} ms an image")
    ways = {"before": before, "ours": ours}
    seconds, megabytes = {name: [] for name in ways}, {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.thread_time()
            sent = way()
            seconds[name].append(time.thread_time() - begun)
            megabytes[name] = sent.nbytes / BATCH / 1e6
    for name in ways:
        own = 1e3 * float(np.median(seconds[name])) / BATCH
        print(f"{name:8} {own:8.2f} {megabytes[name]:14.2f} {busy / (busy + own):14.0%}")


if __name__ == "__main__":
    main()
