import torch

from qaclims_ray.benchmark.clip_cams import (
    fit_positions,
    plain_cams,
    random_images,
    random_texts,
    ways,
)
from qaclims_ray.benchmark.sizes import choose_sizes, dense_clip_config
from qaclims_ray.benchmark.training import random_clip
from qaclims_ray.model.clip_cams import clip_cams, image_texts
from qaclims_ray.model.clip_vit import normalise_pixels, patch_grid

CPU = torch.device("cpu")
QUICK = choose_sizes(CPU, quick=True)


def test_the_plain_way_gives_the_same_cams():
    torch.manual_seed(0)
    clip = random_clip(dense_clip_config(QUICK), CPU)
    visual, (image,) = clip.clip.visual, random_images(1, 28, 42)
    fit_positions(visual, patch_grid((28, 42), visual.conv1.kernel_size))
    (classes,), (backgrounds,) = random_texts([2], 16, CPU), random_texts([10], 16, CPU)
    together = clip_cams(clip, [image], image_texts([classes], [backgrounds]))
    pixels = normalise_pixels([image], clip.image_mean, clip.image_std, visual.positional_embedding)
    scale = clip.clip.logit_scale.exp()
    alone = plain_cams(visual, pixels.requires_grad_(), torch.cat([classes, backgrounds]), 2, scale)
    assert together.cams.shape == (2, 4, 6)
    for ours, plain in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-3)


def test_ways_do_what_they_say():
    made = ways(CPU, QUICK)
    (ours, run), (published, run_published) = made.items()
    assert (ours.num_units, published.num_units) == (2, 1)
    assert run().refined.shape == (3, 10, 12)
    shapes = [run_published().refined.shape for _ in range(3)]
    assert shapes == [(2, 10, 12), (1, 10, 12), (2, 10, 12)]
