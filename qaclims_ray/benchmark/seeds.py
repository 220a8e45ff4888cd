"""Images a second of seeds by PAR and by the dense CRF, and of the boundary network."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import cycle

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from qaclims_ray.benchmark.measure import Way, Ways
from qaclims_ray.benchmark.sizes import Sizes, num_pairs
from qaclims_ray.benchmark.training import label_map_ways
from qaclims_ray.config.refine import Seeds
from qaclims_ray.model.irn import Relations, build_irn, predict_boundaries, reduce_labels
from qaclims_ray.model.irn_losses import irn_losses
from qaclims_ray.model.par import DILATIONS, offsets
from qaclims_ray.refine.labelling import Pictured, seed_labeller
from qaclims_ray.train.batches import Batch
from qaclims_ray.types import Image


def random_pictured(num_images: int, size: tuple[int, int], num_classes: int) -> list[Pictured]:
    """Draw smooth images of little noise, with CAMs at a quarter of their sides.

    The CRF's time grows with the number of colours: on pure noise it would be too slow.
    """
    rng = np.random.default_rng(0)
    cells = [(side - 1) // 4 + 1 for side in size]

    def smooth_image() -> Image:
        coarse = rng.integers(32, 224, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
        wide = PILImage.fromarray(coarse).resize((size[1], size[0]), PILImage.Resampling.BICUBIC)
        return np.asarray(wide) + rng.integers(0, 8, (*size, 3), dtype=np.uint8)

    return [
        Pictured(
            smooth_image(),
            rng.random((number, *cells), dtype=np.float32),
            list(range(min(number, num_classes))),
        )
        for number in num_pairs(num_images)
    ]


def seed_ways(device: torch.device, sizes: Sizes) -> Ways:
    """PAR on batches, and where pydensecrf2 is installed the published CRF, an image at a time."""
    pictured = random_pictured(sizes.cam_images, sizes.image, sizes.num_classes)
    height, width = sizes.image
    count, shape = len(pictured), f"of {height} x {width}"
    par = Way(
        "ours",
        "PAR",
        "float32",
        f"{count} images {shape}",
        count,
        flops=_flops_of_par(pictured),
        growth=1,
    )
    ways: Ways = {par: partial(seed_labeller(Seeds(kind="par"), device.type), pictured)}
    if find_spec("pydensecrf") is None:
        return ways
    crf = Way("published", "dense CRF", "float32", f"1 image {shape}", 1, flops=0, growth=1)
    label, single = seed_labeller(Seeds(kind="crf"), "cpu"), cycle(pictured)
    return {**ways, crf: lambda: label([next(single)])}


def _flops_of_par(pictured: Sequence[Pictured]) -> float:
    """Multiplications and additions of the steps, two labellings at half the side."""
    return sum(
        Seeds().steps * 2 * len(offsets(DILATIONS)) * 2 * (len(one.cams) + 1) * one.image.size / 12
        for one in pictured
    )


def training_ways(device: torch.device, sizes: Sizes) -> Ways:
    """The boundary network, which is trained alike in both."""
    net = build_irn(sizes.backbone)

    def loss(output: Relations, batch: Batch) -> Mapping[str, Tensor]:
        return irn_losses(output, reduce_labels(batch.targets), sizes.radius)._asdict()

    return label_map_ways(net, loss, sizes.classifier_images, sizes, device)


def boundary_ways(device: torch.device, sizes: Sizes) -> Ways:
    """Boundaries of images of one size together, and one at a time as published code finds them."""
    net = build_irn(sizes.backbone).eval().to(device)
    height, width = sizes.image
    images = torch.randn(sizes.cam_images, 3, height, width, device=device)
    single = cycle(images.split(1))
    count, shape = len(images), f"of {height} x {width}"
    batches = f"{count} images {shape}"
    together = Way("ours", "images in batches", "float32", batches, count, growth=1)
    alone = Way("published", "one image at a time", "float32", f"1 image {shape}", 1, growth=1)
    return {
        together: partial(predict_boundaries, net, images),
        alone: lambda: predict_boundaries(net, next(single)),
    }
