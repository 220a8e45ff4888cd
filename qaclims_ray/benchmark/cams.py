"""Images a second of CAMs from four scales and their mirror images."""

from functools import partial
from itertools import cycle

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from qaclims_ray.benchmark.measure import Way, Ways
from qaclims_ray.benchmark.sizes import Sizes, labels
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.multiscale import SCALES, multiscale_cams, resize_images


@torch.no_grad()
def cams_of_one(
    net: nn.Module, image: Float[Tensor, "3 H W"], label: Float[Tensor, "C"]
) -> Float[Tensor, "P h w"]:
    """The published way: one image at one scale, its mirror image beside it; all classes resized.

    Published `step/make_clims.py`, whose network takes an image and its mirror image per call.
    """
    size = [(side - 1) // 4 + 1 for side in image.shape[1:]]
    maps: list[Tensor] = []
    for scale in SCALES:
        scaled = resize_images(image[None], scale)
        plain, mirrored = net(torch.cat([scaled, scaled.flip(-1)])).relu()
        merged = (plain + mirrored.flip(-1))[None]
        maps.append(F.interpolate(merged, size, mode="bilinear", align_corners=False)[0])
    present = torch.stack(maps).sum(0)[label > 0]
    return present / (present.amax(dim=(1, 2), keepdim=True) + 1e-5)


def ways(device: torch.device, sizes: Sizes) -> Ways:
    """Both ways, in float32 as the stage has it."""
    net = build_cam_net(sizes.backbone, sizes.num_classes).to(device).eval()
    height, width = sizes.image
    images = torch.randn(sizes.cam_images, 3, height, width, device=device)
    present = labels(sizes.cam_images, sizes.num_classes, device)
    calls = cycle(zip(images, present, strict=True))
    ours = partial(multiscale_cams, net, images, present)
    shape = f"of {height} x {width}"
    count = len(images)
    together = Way(
        "ours", "images in batches", "float32", f"{count} images {shape}", count, growth=1
    )
    alone = Way("published", "one image at a time", "float32", f"1 image {shape}", 1, growth=1)
    return {together: ours, alone: lambda: cams_of_one(net, *next(calls))}
