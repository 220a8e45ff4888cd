"""Masks that people corrected, in place of the ground truth that a data set comes with."""

from dataclasses import replace

from qaclims_ray.ingest.label_maps import find_label_maps
from qaclims_ray.ingest.sources import Listing, Source
from qaclims_ray.run.file_names import relative

_SHOWN = 3


def corrected(listing: Listing, uri: str) -> Listing:
    """Return a listing in which corrections replace the ground truth of their images.

    Args:
        listing: A data set.
        uri: Folder, or a COCO file; see `label_maps`.

    Raises:
        ValueError: no correction belongs to an image, two belong to one, the classes are others, or
            a COCO file has objects without outlines.
    """
    names = [source["name"] for source in listing.sources]
    files = relative([source["image"] for source in listing.sources])
    try:
        found = find_label_maps(uri, dict(zip(names, files, strict=True)), listing.class_names)
    except ValueError as error:
        raise ValueError(f"data.corrections: {error}") from error
    if not found.of:
        raise ValueError(
            f"data.corrections: {uri} has no mask of any image: expected NAME.png, NAME.json "
            f"(LabelMe) or NAME.txt (YOLO), such as {names[0]}.png, or one COCO file"
        )
    sources = list[Source]()
    for source in listing.sources:
        mask, annotations = found.of.get(source["name"], (source["mask"], source["annotations"]))
        sources.append(Source({**source, "mask": mask, "annotations": annotations}))
    told = [f"{len(found.of):,} of {len(names):,} images have the ground truth of data.corrections"]
    if found.unknown:
        some = ", ".join(found.unknown[:_SHOWN])
        told.append(f"{len(found.unknown):,} corrections belong to no image, as {some}")
    return replace(listing, sources=sources, warnings=(*listing.warnings, *told))
