"""The data section of a configuration to the reader that lists it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import fsspec

from qaclims_ray.data.coco14 import read_coco
from qaclims_ray.data.folder import read_folder
from qaclims_ray.data.sources import Listing
from qaclims_ray.data.voc12 import read_voc
from qaclims_ray.demo.voc import write_voc
from qaclims_ray.demo.world import CLASSES
from qaclims_ray.sections import Coco14, Demo, Folder, Voc12
from qaclims_ray.storage import absolute


def read(data: Voc12 | Coco14 | Folder | Demo, run: str) -> Listing:
    """List a data set; the demo world is first drawn below `run`.

    Raises:
        ValueError: files that the whole set needs are missing or wrong, or no image is left.
    """
    listing = _list(data, run)
    if not listing.sources:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in listing.errors[:3])
        raise ValueError(f"no image with labels in the data set. First reasons: {reasons or '-'}")
    return listing


def _list(data: Voc12 | Coco14 | Folder | Demo, run: str) -> Listing:
    match data:
        case Voc12():
            return read_voc(
                absolute(data.root),
                data.split,
                labels_file=data.labels_file,
                masks_folder=data.masks,
            )
        case Coco14():
            return read_coco(absolute(data.root), data.split)
        case Folder():
            return read_folder(absolute(data.root), class_names=data.class_names)
        case Demo():
            return _demo(data, run)


def _demo(data: Demo, run: str) -> Listing:
    root = f"{run}/world"
    with TemporaryDirectory() as folder:
        local = Path(folder if "://" in root else root)
        write_voc(
            local,
            split=data.split,
            num_images=data.num_images,
            seed=data.seed,
            biased=data.split != "val",
        )
        if "://" in root:
            fs, path = fsspec.url_to_fs(root)
            fs.put(f"{local}/", f"{path}/", recursive=True)
    return read_voc(root, data.split, class_names=CLASSES)
