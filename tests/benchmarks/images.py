"""Decode and augment throughput of one core, beside PIL + torchvision v2 written plainly.

    python tests/benchmarks/images.py

Both ways: JPEG of 500 x 375 -> long side 320 to 640 (bicubic) -> flip -> normalise -> crop 512.
"""

import io
import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image as pil
from torchvision.transforms import v2

from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import augment
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD

NUM_IMAGES = 16
REPEATS = 7
EPOCHS = itertools.count()


def photos() -> list[bytes]:
    """Smooth shapes with some noise, about as large as VOC's JPEG files."""
    files = []
    for seed in range(NUM_IMAGES):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
        smooth = np.array(pil.fromarray(coarse).resize((500, 375), pil.Resampling.BICUBIC))
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        out = io.BytesIO()
        pil.fromarray(noisy).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def plain_decode(image: bytes) -> pil.Image:
    return pil.open(io.BytesIO(image)).convert("RGB")


TORCHVISION = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        v2.RandomCrop(512, pad_if_needed=True),
    ]
)


def plain_view(image: bytes) -> torch.Tensor:
    picture = plain_decode(image)
    scale = int(torch.randint(320, 641, ())) / max(picture.size)
    size = [round(picture.height * scale), round(picture.width * scale)]
    return TORCHVISION(v2.functional.resize(picture, size, v2.InterpolationMode.BICUBIC))


def our_view(image: bytes) -> torch.Tensor:
    options = {"epoch": next(EPOCHS), "resize_long": (320, 640), "crop": 512}
    return torch.from_numpy(augment(decode(image), seed=0, name="a", **options))


def milliseconds(function: Callable[[bytes], object], files: list[bytes]) -> float:
    """Median over repeats of the mean time per image."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for file in files:
            function(file)
        times.append((time.perf_counter() - start) * 1e3 / len(files))
    return float(np.median(times))


def main() -> None:
    torch.set_num_threads(1)
    files = photos()
    print(f"{NUM_IMAGES} JPEGs, {sum(map(len, files)) / NUM_IMAGES / 1e3:.0f} kB in the mean")
    for name, function in {
        "decode, ours": decode,
        "decode, plain Pillow": lambda image: np.array(plain_decode(image)),
        "decode and augment, ours": our_view,
        "decode and augment, Pillow + torchvision v2": plain_view,
    }.items():
        time_each = milliseconds(function, files)
        print(f"{name:45s} {time_each:6.2f} ms   {1e3 / time_each:6.0f} images/s")


if __name__ == "__main__":
    main()
