"""Fingerprints of what a data set says about its images, to tell later what has changed.

Of small files the content counts; of many or large ones their names, sizes and times.
"""

import json
import os
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, TypedDict

from qaclims_ray.config.data import Coco14, Data, Folder, Voc12
from qaclims_ray.ingest.coco14 import usual_annotations
from qaclims_ray.ingest.folder import CLASSES_FILE, LABEL_FILES
from qaclims_ray.ingest.label_folders import NAMES_FILE
from qaclims_ray.ingest.voc12 import list_file, usual_masks
from qaclims_ray.storage.files import read_all
from qaclims_ray.storage.filesystem import filesystem, is_local, patiently
from qaclims_ray.storage.listing import list_files
from qaclims_ray.storage.paths import WEB, absolute, join, locate

_TIMES = ("ETag", "etag", "LastModified", "updated", "created")
"""What the file systems of stores call the version of a file, or its time."""


class Fingerprint(TypedDict):
    """Digests; equal ones mean that nothing has changed."""

    labels: str
    classes: str
    masks: str


def fingerprint(data: Data) -> Fingerprint | None:
    """Digest labels, classes and masks of a data set; None for one that has none of them."""
    found = _fingerprint(data)
    if found is not None and data.corrections is not None:
        found["masks"] += _stamps(absolute(data.corrections))
    return found


def _fingerprint(data: Data) -> Fingerprint | None:
    match data:
        case Folder():
            root, of_yolo = absolute(data.root), data.labels == "yolo"
            files = LABEL_FILES if data.labels_file is None else (data.labels_file,)
            return Fingerprint(
                labels=_stamps(join(root, "labels"))
                if of_yolo
                else _contents(locate(root, name) for name in files),
                classes=_contents(
                    join(root, name) for name in (CLASSES_FILE, *([NAMES_FILE] if of_yolo else []))
                ),
                masks=_stamps(join(root, "masks")),
            )
        case Voc12():
            root, labels = absolute(data.root), data.labels_file or "Annotations"
            return Fingerprint(
                labels=_contents([list_file(root, data.split)]) + _stamps(locate(root, labels)),
                classes="",
                masks=_stamps(join(root, data.masks or usual_masks(data.split))),
            )
        case Coco14():
            file = locate(absolute(data.root), data.annotations or usual_annotations(data.split))
            return Fingerprint(labels=_stamps(file), classes="", masks="")
        case _:
            return None


def changes(before: Fingerprint, now: Fingerprint) -> list[str]:
    """Return which of labels, classes and masks have changed."""
    return [part for part, digest in now.items() if before.get(part, digest) != digest]


def _contents(uris: Iterable[str]) -> str:
    """Digest small files; one that is not there counts as empty."""
    found = read_all(uris)
    return _digest([one.hex() if isinstance(one, bytes) else "" for one in found])


def _stamps(uri: str) -> str:
    """Digest names, sizes and times of a file, or of all files below a folder.

    What is not there has none, and neither has a web server, which lists no folders.
    """
    fs: Any
    fs, root = filesystem(uri)
    if is_local(uri):
        one_file = os.path.isfile(root)
        files = [root] if one_file else (join(root, one) for one in list_files(root))
        return _digest(stamp for file in files if (stamp := _stamp(file)) is not None)
    if uri.startswith(WEB):
        return _digest([])
    try:
        found = patiently(lambda: fs.find(root, detail=True), uri)
    except FileNotFoundError:
        found = {}
    return _digest(
        (name, one["size"], [str(one.get(key)) for key in _TIMES]) for name, one in found.items()
    )


def _stamp(file: str) -> tuple[str, int, int] | None:
    """Name, size and time of a local file; None: it is gone since it was listed."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return file, found.st_size, found.st_mtime_ns


def _digest(plain: Iterable[object]) -> str:
    """Digest plain data as the JSON of their list, of which a piece is made at a time."""
    digest = sha256(b"[")
    for number, one in enumerate(plain):
        digest.update(f"{', ' if number else ''}{json.dumps(one)}".encode())
    digest.update(b"]")
    return digest.hexdigest()[:16]
