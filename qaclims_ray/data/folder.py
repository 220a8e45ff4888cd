"""A plain folder of own images, with any number of classes.

    <root>/images/**          images, in subfolders or not
    <root>/labels.csv         lines `a.jpg,cat;dog`
    <root>/labels.jsonl       or lines `{"image": "a.jpg", "labels": ["cat", "dog"]}`
    <root>/classes.txt        optional: class names, one per line, in the order of their indices
    <root>/masks/**           optional: label maps a.png, where the image is images/a.jpg

A line names an image by its path below `images`, with or without suffix, or by a URL (`https://…`,
`s3://…`, `gs://…`). Several lines about one image add up. A line without labels says that the
image shows none of the classes; an image without a line is unlabelled and left out. A label is a
class name or a class index (from 0). The row's name is the path without suffix, its slashes
written as `__`.
"""

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath
from unicodedata import normalize

from qaclims_ray.data.errors import attempt, sort_out
from qaclims_ray.data.files import join, read_text, walk
from qaclims_ray.data.label_files import Line, parse_csv, parse_jsonl
from qaclims_ray.data.sources import Listing, Source, first_of_each_name

LABEL_FILES = ("labels.csv", "labels.jsonl")
"""Where the labels are looked for."""
URL_SCHEMES = ("http://", "https://", "s3://", "gs://")
"""What may stand before an image's address; local files are read below the root only."""


def read_folder(root: str, *, class_names: Sequence[str] | None = None) -> Listing:
    """List a folder.

    Args:
        root: path or URL.
        class_names: names in the order of their indices; default: `classes.txt`, else the names
            in the labels file, sorted.

    Raises:
        ValueError: the labels file is missing, or gives class indices and nobody their names. What
            concerns one image only is in `Listing.errors`, with its line number.
    """
    files = walk(root)
    lines, errors = _read_lines(root, files)
    names = _class_names(root, files, lines, class_names)
    images = _by_path(files, "images/")
    lines_of, not_found = _group(lines, images)
    masks = {file for file in files if file.startswith("masks/")}
    sources, unusable = sort_out(
        (f"{path} (line {about[0].number})", attempt(_source, root, path, about, names, masks))
        for path, about in lines_of.items()
    )
    sources, repeated = first_of_each_name(sources)
    num_unlabelled = len(set(images.values()) - lines_of.keys())
    return Listing(sources, errors + not_found + unusable + repeated, names, num_unlabelled)


def _read_lines(root: str, files: Collection[str]) -> tuple[list[Line], list[tuple[str, str]]]:
    """The lines of the labels file, and (name, reason) of those that cannot be read."""
    file = next((name for name in LABEL_FILES if name in files), None)
    if file is None:
        raise ValueError(
            f"{root}: no {' or '.join(LABEL_FILES)}; expected lines such as 'a.jpg,cat;dog' "
            "beside the folder images"
        )
    text = read_text(join(root, file), "labels, one image per line")
    lines, broken = parse_csv(text) if file.endswith(".csv") else parse_jsonl(text)
    return lines, [(f"{file} (line {n})", f"line {n}: {reason}") for n, reason in broken]


def _class_names(
    root: str, files: Collection[str], lines: Iterable[Line], given: Sequence[str] | None
) -> tuple[str, ...]:
    if given is not None:
        return tuple(given)
    if "classes.txt" in files:
        text = read_text(join(root, "classes.txt"), "class names, one per line")
        return tuple(name.strip() for name in text.splitlines() if name.strip())
    labels = {label for line in lines for label in line.labels}
    if labels and all(label.isdecimal() for label in labels):
        raise ValueError(
            f"{root}: the labels are class indices only; write the class names, one per line, "
            "into classes.txt, or give class_names"
        )
    return tuple(sorted(label for label in labels if not label.isdecimal()))


def _by_path(files: Iterable[str], folder: str) -> dict[str, str]:
    """Path of each image from what a line may call it: with and without suffix."""
    images = [file for file in files if file.startswith(folder)]
    full = {normalize("NFC", file.removeprefix(folder)): file for file in images}
    bare = {str(PurePosixPath(path).with_suffix("")): file for path, file in full.items()}
    return bare | full


def _group(
    lines: Iterable[Line], images: dict[str, str]
) -> tuple[dict[str, list[Line]], list[tuple[str, str]]]:
    """The lines about each image, by its path or URL; (name, reason) of images not found."""
    lines_of: dict[str, list[Line]] = {}
    errors: list[tuple[str, str]] = []
    for line in lines:
        remote = line.image.startswith(URL_SCHEMES)
        path = line.image if remote else images.get(normalize("NFC", line.image))
        if path is None:
            reason = f"line {line.number}: no image {line.image!r} in the folder images"
            errors.append((f"{line.image} (line {line.number})", reason))
        else:
            lines_of.setdefault(path, []).append(line)
    return lines_of, errors


def _indices(lines: Iterable[Line], names: Sequence[str]) -> list[int]:
    return sorted({_index(label, line.number, names) for line in lines for label in line.labels})


def _index(label: str, number: int, names: Sequence[str]) -> int:
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    close = get_close_matches(label, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"classes are {', '.join(names)}"
    raise ValueError(f"line {number}: unknown class {label!r}; {hint}")


def _source(
    root: str, path: str, lines: Iterable[Line], names: Sequence[str], masks: Collection[str]
) -> Source:
    """The image at a path or URL, with the labels that all lines about it name."""
    remote = path.startswith(URL_SCHEMES)
    below = path.rpartition("/")[2] if remote else path.removeprefix("images/")
    stem = str(PurePosixPath(below).with_suffix(""))
    mask = f"masks/{stem}.png"
    return Source(
        name=normalize("NFC", stem.replace("/", "__")),
        image=path if remote else join(root, path),
        labels=_indices(lines, names),
        mask=join(root, mask) if mask in masks else None,
        annotations=None,
    )
