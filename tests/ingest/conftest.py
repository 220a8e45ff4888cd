"""A small data set on disk."""

from pathlib import Path

import numpy as np
import pytest

from tests.build import annotation, jpeg, photo, png, put


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Three images in the VOC layout: a with cat and dog and a mask, b with sofa, c with train."""
    labels = {"a": ("dog", "cat", "dog"), "b": ("sofa",), "c": ("train", "tvmonitor")}
    for seed, (name, names) in enumerate(labels.items()):
        put(tmp_path / "JPEGImages" / f"{name}.jpg", jpeg(photo(seed=seed)))
        put(tmp_path / "Annotations" / f"{name}.xml", annotation(*names))
    mask = np.zeros((40, 60), np.uint8)
    mask[:20] = 8
    mask[20] = 255
    put(tmp_path / "SegmentationClass" / "a.png", png(mask))
    put(tmp_path / "ImageSets" / "Segmentation" / "train.txt", "a\nb\n\nc\n")
    return tmp_path
