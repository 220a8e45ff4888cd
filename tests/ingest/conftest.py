"""Encoded pictures and small data sets on disk."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as pil


def encode(picture: pil.Image, file_format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, file_format, **options)
    return out.getvalue()


def photo(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Smooth pixels, which survive JPEG, different in every corner."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.array(pil.fromarray(coarse).resize((width, height), pil.Resampling.BICUBIC))


def exif(orientation: int) -> pil.Exif:
    data = pil.Exif()
    data[0x0112] = orientation
    return data


def annotation(*names: str, difficult: int = 0) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult></object>" for name in names
    )
    return f"<annotation>{objects}</annotation>"


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def make() -> SimpleNamespace:
    return SimpleNamespace(encode=encode, photo=photo, exif=exif, annotation=annotation, put=put)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Three images in the VOC layout: a with cat and dog and a mask, b with sofa, c with train."""
    labels = {"a": ("dog", "cat", "dog"), "b": ("sofa",), "c": ("train", "tvmonitor")}
    for seed, (name, names) in enumerate(labels.items()):
        image = encode(pil.fromarray(photo(seed=seed)), "JPEG")
        put(tmp_path / "JPEGImages" / f"{name}.jpg", image)
        put(tmp_path / "Annotations" / f"{name}.xml", annotation(*names))
    mask = np.zeros((40, 60), np.uint8)
    mask[:20] = 8
    mask[20] = 255
    put(tmp_path / "SegmentationClass" / "a.png", encode(pil.fromarray(mask)))
    put(tmp_path / "ImageSets" / "Segmentation" / "train.txt", "a\nb\n\nc\n")
    return tmp_path
