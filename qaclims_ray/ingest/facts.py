"""Facts of a data set, to be looked at before hours are spent on it."""

from collections.abc import Iterable, Sequence
from typing import NotRequired, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from qaclims_ray.ingest import coco14, voc12
from qaclims_ray.ingest.fingerprint import Fingerprint
from qaclims_ray.ingest.mask_facts import MaskFacts, mask_lines
from qaclims_ray.ingest.sources import Listing
from qaclims_ray.ingest.spread import Spread
from qaclims_ray.run.artifact import Artifact

COLUMNS = {
    **{name: pads.field(name) for name in ("height", "width", "labels")},
    "has_mask": pads.field("mask").is_valid(),
}
"""Columns of a pyarrow dataset that facts are counted from, without images and masks."""

RARE = 20
"""Times that the most frequent class may have as many images as another one without a word."""
_SHOWN = 5
"""Names that a warning lists."""
_KNOWN = {"voc12": voc12.EXPECTED_COUNTS, "coco14": coco14.EXPECTED_COUNTS}


class Facts(TypedDict):
    """Facts that the manifest of the artifact `images` keeps."""

    class_names: list[str]
    """Names in the order of their indices."""
    fingerprint: NotRequired[Fingerprint | None]
    """Digests of labels, classes and masks as they were read; None for a set that has none."""
    num_images: int
    num_pairs: int
    """(image, class) pairs."""
    num_masks: int
    """Images with ground truth."""
    num_bad_masks: NotRequired[int]
    """Images without ground truth because their mask is bad; runs of before lack it."""
    num_unlabelled: int
    """Images left out because they are unlabelled."""
    num_kept_unlabelled: int
    """Unlabelled images that are kept."""
    num_listed_errors: int
    """Images left out because the reader could not list them."""
    images_per_class: dict[str, int]
    height: tuple[int, int, int]
    """Least, median and greatest, in pixels."""
    width: tuple[int, int, int]
    pixels: NotRequired[tuple[int, int, int]]
    """Height times width; runs of before lack it."""
    masks: NotRequired[MaskFacts | None]
    """None where no image has ground truth; runs of before lack it."""


def count_facts(images: Iterable[pa.RecordBatch], listing: Listing) -> Facts:
    """Count the facts of rows with the columns of `COLUMNS`, which a reader listed."""
    num_images = num_masks = num_unlabelled = 0
    counts = np.zeros(len(listing.class_names), np.int64)
    heights, widths, pixels = Spread(), Spread(), Spread()
    for batch in images:
        labels = batch["labels"].flatten().to_numpy()
        counts += np.bincount(labels, minlength=len(counts))
        num_images += len(batch)
        num_masks += batch["has_mask"].true_count
        num_unlabelled += batch["labels"].null_count
        height, width = (batch[side].to_numpy().astype(np.int64) for side in ("height", "width"))
        for spread, values in ((heights, height), (widths, width), (pixels, height * width)):
            spread.add(values)
    return Facts(
        class_names=list(listing.class_names),
        num_images=num_images,
        num_pairs=int(counts.sum()),
        num_masks=num_masks,
        num_unlabelled=listing.num_unlabelled,
        num_kept_unlabelled=num_unlabelled,
        num_listed_errors=len(listing.errors),
        images_per_class=dict(zip(listing.class_names, counts.tolist(), strict=True)),
        height=heights(),
        width=widths(),
        pixels=pixels(),
    )


def read_facts(images: Artifact) -> Facts:
    """Read the facts of a complete artifact `images`."""
    return cast(Facts, images.require()["facts"])


def describe(facts: Facts) -> str:
    """Write facts as lines of text for people."""
    left_out = {
        "nobody labelled": facts["num_unlabelled"],
        "cannot be listed": facts["num_listed_errors"],
    }
    unlabelled = facts.get("num_kept_unlabelled", 0)  # runs of before lack it
    lines = [
        f"{facts['num_images']:,} images, {facts['num_pairs']:,} pairs (image, class)"
        + (f"; {unlabelled:,} images without labels" if unlabelled else ""),
        f"left out: {', '.join(f'{number:,} that {why}' for why, number in left_out.items())}",
        f"masks: {facts['num_masks']:,}, {facts['num_images'] - facts['num_masks']:,} images "
        "have none" + (f" ({bad:,} a bad one)" if (bad := facts.get("num_bad_masks", 0)) else ""),
        *mask_lines(facts.get("masks")),
        f"height: {_range(facts['height'])}",
        f"width:  {_range(facts['width'])}",
        "images per class:",
    ]
    width = max(map(len, facts["images_per_class"]), default=0)
    counts = facts["images_per_class"].items()
    return "\n".join([*lines, *(f"  {name:<{width}} {count:>9,}" for name, count in counts)])


def _range(spread: Sequence[int]) -> str:
    return f"{spread[0]:,} to {spread[2]:,} pixels, median {spread[1]:,}"


def check_missing(facts: Facts, errors: int, published: int | None, most: float) -> None:
    """Check that a data set is not mostly missing.

    Args:
        facts: Facts of the images that are there.
        errors: Listed images that are not, or that cannot be read.
        published: Images of the whole split, where it is a published one.
        most: Share that may be missing, `max_missing` of the section `data`.

    Raises:
        ValueError: more than that is missing.
    """
    found = facts["num_images"]
    reasons = " Each has its reason in _errors."
    for wanted, which, missing, where in (
        (found + errors, "listed", "missing or cannot be used", reasons),
        (published or 0, "published", "missing", ""),
    ):
        if wanted - found > most * wanted:
            raise ValueError(
                f"{wanted - found:,} of {wanted:,} {which} images are {missing}, a larger share "
                f"than data.max_missing={most:g} allows.{where} Give a list of the images that "
                "there are, or find the others; where so few are meant, set data.max_missing=1"
            )


def check_known_set(kind: str, split: str | None, facts: Facts, num_errors: int = 0) -> list[str]:
    """Return warnings: what a published set lacks, and what any set should not lack.

    Args:
        kind: `voc12`, `coco14`, or another for which no counts are published.
        split: name or path of the split, None where there is none.
        facts: facts of the whole split.
        num_errors: images that could not be used.
    """
    num_images, num_pairs = published_counts(kind, split)
    num_labelled = facts["num_images"] - facts["num_kept_unlabelled"]
    parts = [
        _difference("images", num_labelled, num_images),
        _difference("pairs", facts["num_pairs"], num_pairs),
    ]
    found = "; ".join(part for part in parts if part)
    where = f". {num_errors:,} images could not be used: see its _errors" if num_errors else ""
    warnings = [f"{kind} {split}: {found}{where}"] if found else []
    empty = [name for name, count in facts["images_per_class"].items() if count == 0]
    if empty:
        warnings.append(f"no image is labelled {_some(empty)}")
    if 0 < facts["num_masks"] < facts["num_images"]:
        missing = facts["num_images"] - facts["num_masks"]
        warnings.append(f"{missing:,} of {facts['num_images']:,} images have no mask")
    return warnings if num_images is not None else warnings + check_balance(facts)


def check_balance(facts: Facts) -> list[str]:
    """Return warnings of classes from which a classifier learns little, and what to do."""
    counts = {name: count for name, count in facts["images_per_class"].items() if count}
    most = max(counts.values(), default=0)
    num_labelled = facts["num_images"] - facts["num_kept_unlabelled"]
    warnings: list[str] = []
    always = [name for name, count in counts.items() if count == num_labelled]
    if always and num_labelled > 1:
        warnings.append(
            f"every image is labelled {_some(always)}: without images that lack it, a classifier "
            "need not look at its objects to name it, and CAMs show nothing of use. Add images "
            "without it, with an empty list of labels if they show no class"
        )
    rare = {name: count for name, count in counts.items() if count * RARE <= most}
    if rare:
        shown = [f"{name} ({count})" for name, count in sorted(rare.items(), key=lambda x: x[1])]
        warnings.append(
            f"{len(rare)} classes have no more than a {RARE}th of the {most:,} images of the most "
            f"frequent class: {_some(shown)}. Add images of them, or let them count more: "
            "train.classifier.balance=sampling or weights"
        )
    return warnings


def _some(names: Sequence[str]) -> str:
    """List a few names, and how many there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"


def published_counts(kind: str, split: str | None) -> tuple[int | None, int | None]:
    """Return the published numbers of images and pairs of a split; None where there are none."""
    name = (split or "").rpartition("/")[2].removesuffix(".txt")
    name = "train_aug" if name == "trainaug" else name
    return _KNOWN.get(kind, {}).get(name, (None, None))


def _difference(noun: str, found: int, published: int | None) -> str:
    if published is None or found == published:
        return ""
    gap = published - found
    return f"{found:,} {noun}, published are {published:,}: {abs(gap):,} " + (
        "missing" if gap > 0 else "too many"
    )
