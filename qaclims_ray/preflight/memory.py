"""Whether networks that see whole images can hold the largest of them."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from qaclims_ray.config.compute import Pool
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.preflight.estimate import Counts
from qaclims_ray.run.graph import ARTIFACTS, images_of, inputs_of

_PIXEL_BYTES = {"small_resnet": 200}
_RESNET_BYTES = 850
"""A network's peak per pixel, image and mirror image together, in float32: ResNet-50 at stride 16,
measured on a CPU at 0.2 and 0.4 megapixels."""
_PATCH_PIXELS, _HEADS = 16 * 16, 12
"""CLIP's ViT-B/16: pixels of a patch, and heads, each with the attention of all patches to all."""
WORTH_A_LOOK = 10**9
"""Bytes of one image below which no machine is asked for its memory."""


class Need(NamedTuple):
    """Memory that an artifact's network needs for the largest image."""

    name: str
    pool: Pool
    num_bytes: int
    megapixels: float
    """Size of the image as the network sees it at the greatest scale."""
    keys: str
    """Options that lower it."""


def memory_needs(experiment: Experiment, names: Iterable[str], counts: Counts) -> list[Need]:
    """Return what CAMs and predictions need, where the sizes of images are known.

    Args:
        experiment: The run.
        names: Of the artifacts to make.
        counts: Known of the images, the largest one among them.
    """
    needs: list[Need] = []
    streams = experiment.evaluate.stream
    seen = {
        (ARTIFACTS[name].of or name) if streams and ARTIFACTS[name].kind == "scores" else name
        for name in names
        if images_of(name) == "images" and counts.pixels
    }
    for name in filter(seen.__contains__, ARTIFACTS):
        compute, keys = experiment.compute, "set data.max_side, such as 1024, or lower"
        if ARTIFACTS[name].kind == "cams":
            by_clip = "cam_texts" in inputs_of(experiment, name)
            scales = experiment.cams.clip.scales if by_clip else experiment.cams.scales
            pixels = counts.pixels * max(scales) ** 2
            patches = pixels / _PATCH_PIXELS
            each = _PIXEL_BYTES.get(experiment.model.backbone, _RESNET_BYTES)
            num_bytes = 4 * _HEADS * patches**2 if by_clip else each * pixels
            key = "cams.clip.scales" if by_clip else "cams.scales"
            needs.append(Need(name, compute.cams, int(num_bytes), pixels / 1e6, f"{keys} {key}"))
        elif name == "predictions":
            segment = experiment.segment
            pixels = counts.pixels * max(segment.scales) ** 2
            if segment.window is not None:
                pixels = min(pixels, segment.window**2)
            num_bytes, keys = int(_RESNET_BYTES * pixels), f"{keys} segment.scales or .window"
            needs.append(Need(name, compute.segment, num_bytes, pixels / 1e6, keys))
    return needs


def memory_problems(needs: Iterable[Need], free: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return why the largest image fits no node, one sentence for each artifact.

    A batch that is too large is no problem: it is halved until it fits.

    Args:
        needs: See `memory_needs`.
        free: Memory of each node, and of its smallest GPU (0: it has none), in bytes.
    """
    problems: list[str] = []
    for need in needs:
        gpus = need.pool.num_gpus
        share = min(1.0, gpus) if gpus else 1.0
        there = max((both[1 if gpus else 0] * share for both in free.values()), default=0.0)
        if there and need.num_bytes > there:
            device = f"{share:g} of a GPU" if gpus else "a node"
            problems.append(
                f"{need.name}: the largest image has {need.megapixels:,.1f} megapixels at the "
                f"greatest scale, for which the network needs about {need.num_bytes / 1e9:,.0f} "
                f"GB; {device} has {there / 1e9:,.0f} GB: {need.keys}"
            )
    return problems


def node_memory() -> tuple[int, int]:
    """Return the memory of this machine and of its smallest GPU, in bytes; 0: it has none."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return memory, min((int(line) for line in told.stdout.split()), default=0) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return memory, 0
