"""Choose the reader of a data set by the section `data` of a configuration."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from qaclims_ray.config.data import Coco14, Data, Demo, Folder, Images, Voc12, WebDataset
from qaclims_ray.demo.voc import write_voc
from qaclims_ray.demo.world import CLASSES
from qaclims_ray.ingest.coco14 import read_coco
from qaclims_ray.ingest.corrections import corrected
from qaclims_ray.ingest.folder import read_folder
from qaclims_ray.ingest.images import read_images
from qaclims_ray.ingest.sources import Listing, check_texts
from qaclims_ray.ingest.voc12 import read_voc
from qaclims_ray.ingest.webdataset import read_webdataset
from qaclims_ray.storage.errors import Failures, attempt, separate
from qaclims_ray.storage.filesystem import filesystem
from qaclims_ray.storage.paths import absolute, shown
from qaclims_ray.types import IGNORE


def read(data: Data, world: str) -> Listing:
    """List a data set; the demo world is first drawn into the folder `world`.

    Raises:
        ValueError: files that the whole set needs are missing or wrong, no image is left, or there
            are masks and more classes than they can hold.
    """
    try:
        listing = _list(data, world)
        if data.corrections is not None:
            listing = corrected(listing, absolute(data.corrections))
        listing = _presentable(listing)
    except ValueError as error:
        raise ValueError(shown(str(error))) from None  # the cause may name a URL as it is
    num_classes = len(listing.class_names)
    has_masks = any(source["mask"] or source["annotations"] for source in listing.sources)
    if has_masks and num_classes >= IGNORE:
        raise ValueError(
            f"masks hold at most {IGNORE - 1} classes, the data set has {num_classes:,}: value 0 "
            f"is background and {IGNORE} is ignored; take the masks away, or merge classes"
        )
    if not listing.sources:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in listing.errors[:3])
        raise ValueError(f"no image to take in the data set. First reasons: {reasons or '-'}")
    return listing


def _list(data: Data, world: str) -> Listing:
    match data:
        case Voc12():
            return read_voc(
                absolute(data.root),
                data.split,
                labels_file=data.labels_file,
                masks_folder=data.masks,
            )
        case Coco14():
            return read_coco(
                absolute(data.root),
                data.split,
                annotations=data.annotations,
                images=data.images,
                unlabelled=data.unlabelled,
                classes=data.classes,
                crowds=data.crowds,
                overlap=data.overlap,
            )
        case Folder():
            return read_folder(
                absolute(data.root),
                class_names=data.class_names,
                labels_file=data.labels_file,
                labels=data.labels,
                unlabelled=data.unlabelled,
            )
        case WebDataset():
            shards = [data.shards] if isinstance(data.shards, str) else data.shards
            return read_webdataset(
                [absolute(shard) for shard in shards],
                class_names=data.class_names,
                classes_file=data.classes_file,
                label_suffixes=data.label_suffixes,
                unlabelled=data.unlabelled,
            )
        case Images():
            return read_images(absolute(data.location))
        case Demo():
            return _draw_demo(data, world)


def _draw_demo(data: Demo, root: str) -> Listing:
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
            fs, path = filesystem(root)
            fs.put(f"{local}/", f"{path}/", recursive=True)
    return read_voc(root, data.split, class_names=CLASSES)


def _presentable(listing: Listing) -> Listing:
    """Make a listing that tables can hold and people may see.

    Sources whose texts are not UTF-8 become errors. Errors and warnings lose the secrets of
    their URLs, and the names of errors stay unique.
    """
    sources, unwritable = listing.sources, list[tuple[str, str]]()
    if isinstance(sources, list):  # others lie in tables already
        sources, unwritable = separate(
            (source["image"], attempt(check_texts, source)) for source in sources
        )
    errors: Failures = []
    count: Counter[str] = Counter()
    for name, reason in listing.errors + unwritable:
        name = shown(name)
        count[name] += 1
        again = f" ({count[name]})" if count[name] > 1 else ""
        errors.append((f"{name}{again}", shown(reason)))
    warnings = tuple(map(shown, listing.warnings))
    return replace(listing, sources=sources, errors=errors, warnings=warnings)
