"""Images alone: a folder, tars, a list of paths and URLs, or a single one; no labels, no masks.

An image is called by its path below the folder, without suffix and with slashes written as `__`; in
a list by the last part of its path or URL. Names that two images would share keep their suffix.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from unicodedata import normalize

from qaclims_ray.images.decode import SUFFIXES
from qaclims_ray.ingest.sources import Listing, Source, first_of_each_name
from qaclims_ray.ingest.webdataset import read_webdataset
from qaclims_ray.storage.files import read_text
from qaclims_ray.storage.listing import list_files
from qaclims_ray.storage.paths import join, locate


def read_images(location: str) -> Listing:
    """List the images at a location; see `config.data.Images` for what it may be.

    Raises:
        ValueError: there is no such file, or no image in the folder or list.
    """
    path = location.partition("?")[0] if "://" in location else location
    if path.endswith(".tar"):
        tars = [location]
        found = read_webdataset(tars, label_suffixes=(), unlabelled=True, masks=False)
        return replace(found, class_names=())
    if path.endswith(".txt"):
        lines = read_text(location, "images, one path or URL per line").splitlines()
        folder = location.rpartition("/")[0]
        images = [locate(folder, line.strip()) for line in lines if line.strip()]
        return _listing(images, [_last_part(image) for image in images], location)
    if _is_image(path):
        return _listing([location], [_last_part(location)], location)
    files = [file for file in list_files(location) if _is_image(file)]
    return _listing([join(location, file) for file in files], files, location)


def _listing(images: Sequence[str], paths: Sequence[str], location: str) -> Listing:
    if not images:
        raise ValueError(
            f"{location}: no image there; expected a folder of images "
            f"({', '.join(sorted(SUFFIXES))}), a .tar, a .txt with one path or URL per line, "
            "or an image"
        )
    stems = [os.path.splitext(path)[0] for path in paths]
    count = Counter(stems)
    names = [path if count[stem] > 1 else stem for path, stem in zip(paths, stems, strict=True)]
    sources, repeated = first_of_each_name(
        [
            Source(
                name=normalize("NFC", name.replace("/", "__")),
                image=image,
                labels=None,
                mask=None,
                annotations=None,
            )
            for name, image in zip(names, images, strict=True)
        ]
    )
    return Listing(sources, repeated, ())


def _is_image(path: str) -> bool:
    return path.rpartition(".")[2].lower() in SUFFIXES


def _last_part(image: str) -> str:
    path = image.partition("?")[0] if "://" in image else image
    return path.rpartition("/")[2]
