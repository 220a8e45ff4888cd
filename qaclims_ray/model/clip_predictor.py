"""A frozen CLIP as a maker of CAMs: images and text features in, NumPy out."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from qaclims_ray.images.decode import decode
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.clip_cams import (
    BOX_THRESHOLD,
    NUM_MAPS,
    clip_cams,
    image_texts,
    resize_cams,
)
from qaclims_ray.model.clip_vit import Pixels, checked_vit, patch_grid
from qaclims_ray.model.multiscale import Resolution
from qaclims_ray.model.predictor import cam_row, equal_sizes
from qaclims_ray.model.texts import TextFeatures
from qaclims_ray.types import CamRow, ImageRow

_STRIDE = 4
"""Pixels per cell of strided CAMs."""


class ClipCamPredictor:
    """Predicts class activation maps (CAMs) with one frozen CLIP on one device.

    Images share a batch where they have one grid of patches at each scale.
    """

    def __init__(
        self,
        clip: MaskPromptedClip,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        affinity: bool = True,
        num_maps: int = NUM_MAPS,
        box_threshold: float = BOX_THRESHOLD,
        resolution: Resolution = "strided",
        max_images: int = 8,
    ) -> None:
        """Wrap a CLIP that is in evaluation mode.

        Args:
            clip: Frozen; its own mean and standard deviation normalise the images.
            scales: Image scales; maps are averaged.
            flip: Average over each image and its mirror image too.
            affinity: Spread each CAM to the patches that attend to each other.
            num_maps: Last blocks whose attention is averaged.
            box_threshold: Share of a CAM's maximum above which its boxes lie.
            resolution: `strided` gives (side - 1) // 4 + 1 cells, `full` one per pixel.
            max_images: Largest batch.

        Raises:
            ValueError: the CLIP has no plain vision transformer.
        """
        self._patch = checked_vit(clip.clip.visual).conv1.kernel_size
        self._clip = clip
        self._scales = tuple(scales)
        self._flip = flip
        self._num_maps = num_maps if affinity else 0
        self._box_threshold = box_threshold
        self._stride = _STRIDE if resolution == "strided" else 1
        self._max_images = max_images

    def predict(
        self, images: Sequence[Pixels], texts: Sequence[TextFeatures]
    ) -> list[Float[np.ndarray, "_ _ _"]]:
        """Predict the CAMs of each image, one float32 map in [0, 1] per class, in their order.

        Args:
            images: RGB, 0 to 255, of any size.
            texts: Text features of each image; without classes, it has no map.
        """
        made: dict[int, Float[np.ndarray, "_ _ _"]] = {}
        for batch in self._batches([image.shape[:2] for image in images]):
            maps = self._predict([images[i] for i in batch], [texts[i] for i in batch])
            made |= zip(batch, maps, strict=True)
        return [made[i] for i in range(len(images))]

    def predict_rows(
        self, rows: Sequence[ImageRow], texts: Sequence[TextFeatures], max_pixels: int
    ) -> list[CamRow]:
        """Predict the CAMs of rows of the artifact `images`, decoding one batch at a time.

        Args:
            rows: Name, encoded image, its size and labels.
            texts: Text features of each image, its classes in the order of its labels.
            max_pixels: Largest image that is decoded.
        """
        made: dict[int, CamRow] = {}
        for batch in self._batches([(row["height"], row["width"]) for row in rows]):
            images = [decode(rows[i]["image"], max_pixels=max_pixels) for i in batch]
            maps = self.predict(images, [texts[i] for i in batch])
            made |= {i: cam_row(rows[i], own) for i, own in zip(batch, maps, strict=True)}
        return [made[i] for i in range(len(rows))]

    def _batches(self, sizes: Sequence[Sequence[int]]) -> list[list[int]]:
        grids = [
            tuple(n for scale in self._scales for n in patch_grid(size, self._patch, scale))
            for size in sizes
        ]
        return list(equal_sizes(grids, self._max_images))

    def _predict(
        self, images: Sequence[Pixels], texts: Sequence[TextFeatures]
    ) -> list[Float[np.ndarray, "_ _ _"]]:
        """CAMs of images of one grid, as one batch."""
        classes, backgrounds = zip(*texts, strict=True)
        made = clip_cams(
            self._clip,
            images,
            image_texts(classes, backgrounds),
            scales=self._scales,
            flip=self._flip,
            num_maps=self._num_maps,
            box_threshold=self._box_threshold,
        )
        maps = made.refined.split([len(own) for own in classes])
        found: list[Float[np.ndarray, "_ _ _"]] = []
        for own, image in zip(maps, images, strict=True):
            height, width = ((side - 1) // self._stride + 1 for side in image.shape[:2])
            if len(own):
                found.append(resize_cams(own, height, width).float().cpu().numpy())
            else:  # torch interpolates no empty batch
                found.append(np.zeros((0, height, width), np.float32))
        return found
