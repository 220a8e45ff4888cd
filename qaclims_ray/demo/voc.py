"""Writes the demo world to disk in the layout of VOC 2012."""

from pathlib import Path
from xml.etree import ElementTree
from zlib import crc32

import numpy as np
from jaxtyping import Bool
from PIL import Image as PilImage

from qaclims_ray.demo.world import SIZE, Example, make_example
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.run.progress import each


def write_voc(root: Path, *, split: str, num_images: int, seed: int, biased: bool) -> None:
    """Write `num_images` images of the world with annotations, masks and the split list.

    Files: `JPEGImages/<name>.jpg`, `Annotations/<name>.xml`, `SegmentationClass/<name>.png`
    (paletted: 0 background, class index + 1) and, last, `ImageSets/Segmentation/<split>.txt`.
    The same arguments always give the same files; splits of one seed share no image.
    """
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    palette = voc_palette().tobytes()
    names = [f"{split}_{index:06d}" for index in range(num_images)]
    for index, name in enumerate(each(names, f"drawing {split}")):
        example = make_example(split_seed(seed, split), index, biased=biased)
        PilImage.fromarray(example.image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        _annotation(name, example).write(root / "Annotations" / f"{name}.xml")
        mask = PilImage.fromarray(example.label_map)
        mask.putpalette(palette)
        mask.save(root / "SegmentationClass" / f"{name}.png")
    lines = "".join(f"{name}\n" for name in names)
    (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(lines)


def split_seed(seed: int, split: str) -> int:
    """The world's seed of one split, so that two splits of one seed differ."""
    return crc32(f"{seed}/{split}".encode())


def _annotation(name: str, example: Example) -> ElementTree.ElementTree:
    root = ElementTree.Element("annotation")
    _texts(root, folder="VOC2012", filename=f"{name}.jpg")
    size = ElementTree.SubElement(root, "size")
    _texts(size, width=str(SIZE), height=str(SIZE), depth="3")
    _texts(root, segmented="1")
    for item in example.objects:
        node = ElementTree.SubElement(root, "object")
        _texts(node, name=item.class_name, pose="Unspecified", truncated="0", difficult="0")
        _texts(ElementTree.SubElement(node, "bndbox"), **_bounding_box(item.visible))
    ElementTree.indent(root)
    return ElementTree.ElementTree(root)


def _texts(parent: ElementTree.Element, **texts: str) -> None:
    """Append one child element for each keyword."""
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = text


def _bounding_box(visible: Bool[np.ndarray, "H W"]) -> dict[str, str]:
    """VOC's box: pixel coordinates that start at 1, ends included."""
    rows, columns = np.nonzero(visible)
    return {
        "xmin": str(columns.min() + 1),
        "ymin": str(rows.min() + 1),
        "xmax": str(columns.max() + 1),
        "ymax": str(rows.max() + 1),
    }
