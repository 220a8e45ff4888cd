"""Trains the tiny mask-prompted CLIP on soft regions and on whole images of the demo world."""

import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.demo.pretrain.captions import draw_captions, word_shares
from qaclims_ray.demo.pretrain.fit import MEAN, STD, fit, normalise, shuffled_batches, stack_pixels
from qaclims_ray.demo.pretrain.regions import Regions, draw_regions, stack_contents
from qaclims_ray.demo.words import ANSWER_WORDS, CLASSES, OBJECTS, SCENES
from qaclims_ray.demo.world import SIZE, Example
from qaclims_ray.metrics.confusion import mean_iou, sweep
from qaclims_ray.model.clip import PROMPT, MaskPromptedClip
from qaclims_ray.model.clip_predictor import ClipCamPredictor
from qaclims_ray.model.clip_vit import encode_patches, patch_values, pool_patches, run_block
from qaclims_ray.model.new_clip import new_clip
from qaclims_ray.model.shapes import Features, Images
from qaclims_ray.model.texts import TextFeatures

CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": 4,
        "width": 96,
        "head_width": 24,
        "patch_size": 12,
    },
    "text_cfg": {"context_length": 10, "width": 96, "heads": 4, "layers": 2},
}
"""open_clip's configuration of the tiny CLIP; `new_clip` adds the size of the vocabulary."""
MASK_PROMPT_DEPTH = 3
_MAX_SCALE = 30.0
"""Largest inverse temperature of the image-text contrast."""

_NUM_WHOLE = 48
"""Images of a batch that are seen whole too."""
_WEIGHT_IMAGE, _WEIGHT_PATCHES = 0.3, 0.7
"""Weights of the two losses of whole images, beside 1 of regions."""
_THRESHOLDS = np.linspace(0.02, 0.98, 49)


def pretrain_clip(
    examples: Sequence[Example], *, num_steps: int, seed: int, batch_size: int = 96
) -> MaskPromptedClip:
    """A CLIP that tells what a soft, possibly dimmed region of an image shows.

    The regions imitate those of CAMs in training: the object roughly, parts of it, its complement,
    random blobs; some with light left outside, many dimmed. A caption is drawn with a probability
    that grows with the squared light on its content, so that similarity follows the CAM's values;
    dark views get arbitrary captions, so that darkness itself means nothing.

    Some captions of a background name the object that stood before it. With `examples` of which
    many show a class in its home scene, "boat" is then a little like water, as for a CLIP that
    learnt from the web: the reason why backgrounds must be named to be told from the object.

    Half of each batch is a second lesson, of whole images: their patches together match the words
    for all that the image shows, and the values that the last block reads from the patches of a
    region match the region's caption. CAMs by GradCAM need both (`model/clip_cams.py`); a CLIP of
    the web learns the like from millions of pictures.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    clip = new_clip(
        CONFIG,
        texts=[PROMPT.format(word) for word in ANSWER_WORDS],
        mask_prompt_depth=MASK_PROMPT_DEPTH,
        image_mean=MEAN,
        image_std=STD,
    )
    torch.nn.init.constant_(clip.clip.logit_scale, 2.3)
    pixels, content = stack_pixels(examples), stack_contents(examples)
    shares = word_shares(examples)
    batches = shuffled_batches(rng, len(examples), batch_size)

    def draw_loss() -> Tensor:
        """Return the loss of one batch."""
        batch = next(batches)
        images, regions = normalise(pixels[batch]), draw_regions(content[batch])
        captions = draw_captions(rng, [examples[index] for index in batch], regions)
        features = clip.encode_regions(images * regions.soft, regions.mask)
        whole = batch[:_NUM_WHOLE]
        of_image, of_regions = _encode_whole(clip, images[: len(whole)], regions)
        return (
            contrast(clip, features, captions)
            # All words, of which several are right for a whole image.
            + _WEIGHT_IMAGE * F.cross_entropy(_logits(clip, of_image, ANSWER_WORDS), shares[whole])
            + _WEIGHT_PATCHES * contrast(clip, of_regions, captions[: len(whole)])
        )

    fit(clip, draw_loss, num_steps=num_steps, learning_rate=1e-3, title="CLIP")
    return clip


def contrast(
    clip: MaskPromptedClip, features: Features, captions: Sequence[str]
) -> Float[Tensor, ""]:
    """Each view against the unique captions of the batch, and, at weight 0.3, the reverse."""
    unique = sorted(set(captions))
    target = torch.tensor([unique.index(caption) for caption in captions])
    logits = _logits(clip, features, unique)
    shares = F.one_hot(target, len(unique)).float()
    shares = shares / shares.sum(dim=0, keepdim=True)
    to_image = -(shares * F.log_softmax(logits, dim=0)).sum(dim=0).mean()
    return F.cross_entropy(logits, target) + 0.3 * to_image


def _logits(
    clip: MaskPromptedClip, features: Features, texts: Sequence[str]
) -> Float[Tensor, "B L"]:
    scale = clip.clip.logit_scale.exp().clamp(max=_MAX_SCALE)
    return scale * F.normalize(features, dim=-1) @ clip.encode_texts(texts).T


def _encode_whole(
    clip: MaskPromptedClip, images: Images, regions: Regions
) -> tuple[Features, Features]:
    """Features of whole images, and of a region each as the last block reads it from them."""
    visual = clip.clip.visual
    tokens = encode_patches(visual, images, num_maps=0).tokens
    last = visual.transformer.resblocks[-1]
    normed = last.ln_1(tokens)
    of_image = pool_patches(visual, run_block(last, tokens, normed, weights=False)[0])
    light = (regions.soft * regions.mask)[: len(images)]
    weights = F.avg_pool2d(light, visual.patch_size).flatten(1)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)
    values = visual.ln_post(patch_values(last, normed))
    return of_image, (weights[:, None] @ values)[:, 0] @ visual.proj


@torch.no_grad()
def measure_clip(clip: MaskPromptedClip, examples: Sequence[Example]) -> dict[str, float]:
    """Accuracies on exact masks: class and kind of the first object, stuff of the background.

    "mIoU of CAMs" is that at the best threshold, for GradCAM without affinity and the true stuffs
    and scene words as background texts.
    """
    images, content = normalise(stack_pixels(examples)), stack_contents(examples)
    first, behind = (content == 0).float()[:, None], (content >= 2).float()[:, None]
    kinds = [kind.name for entry in OBJECTS.values() for kind in entry.kinds]
    stuffs = sorted({stuff for scene in SCENES.values() for stuff in scene.tops + scene.bottoms})
    items = [example.objects[0] for example in examples]
    named = _nearest(clip, images * first, first, CLASSES)
    kind = _nearest(clip, images * first, first, kinds)
    stuff = _nearest(clip, images * behind, behind, [*CLASSES, *stuffs])
    whole = _nearest(clip, images, None, CLASSES)
    true_kinds = [OBJECTS[item.class_name].kinds[item.kind].name for item in items]
    pairs = list(zip(stuff, examples, strict=True))
    return {
        "class of the object region": _accuracy(named, [item.class_name for item in items]),
        "kind of the object region": _accuracy(kind, true_kinds),
        "stuff of the background region": sum(s in (e.top, e.bottom) for s, e in pairs)
        / len(pairs),
        "class of the whole image": _accuracy(whole, [item.class_name for item in items]),
        "mIoU of CAMs": localisation(clip, examples),
    }


def localisation(clip: MaskPromptedClip, examples: Sequence[Example]) -> float:
    """mIoU, at the best threshold, of CAMs for true labels and true background texts."""
    predictor = ClipCamPredictor(clip, affinity=False, resolution="full", max_images=64)
    texts = [
        TextFeatures(
            clip.encode_texts(example.class_names),
            clip.encode_texts([example.top, example.bottom, *SCENES[example.scene][:3]]),
        )
        for example in examples
    ]
    made = predictor.predict([example.image for example in examples], texts)
    counts = sum(
        sweep(
            cams,
            [CLASSES.index(name) for name in example.class_names],
            example.label_map,
            _THRESHOLDS,
            len(CLASSES),
        )
        for cams, example in zip(made, examples, strict=True)
    )
    return float(mean_iou(np.asarray(counts)).max())


def _nearest(
    clip: MaskPromptedClip, views: Tensor, masks: Tensor | None, texts: Sequence[str]
) -> list[str]:
    """The text most similar to each region."""
    scores = clip.encode_regions(views, masks) @ clip.encode_texts(texts).T
    return [str(texts[best]) for best in scores.argmax(dim=1).tolist()]


def _accuracy(found: Sequence[str], truth: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(found, truth, strict=True)) / len(truth)
