"""A plain folder of own images, with any number of classes.

    <root>/images/**          images, in subfolders or not
    <root>/labels.csv         lines `a.jpg,cat;dog`
    <root>/labels.jsonl       or lines `{"image": "a.jpg", "labels": ["cat", "dog"]}`
    <root>/classes.txt        optional: class names, one per line, in the order of their indices
    <root>/masks/**           optional: label maps a.png, where the image is images/a.jpg

A line names an image by its path below `images`, with or without suffix, or by a URL (`https://…`,
`s3://…`, `gs://…`). Several lines about one image add up. A line without labels says that the
image shows none of the classes; an image without a line is unlabelled and left out, unless asked
for. A label is a class name or a class index (from 0). A column or key `mask` names a label map
below `masks` or by a URL. A CSV's header, if there is one, names no columns but the image's,
`labels` and `mask` (see `label_files.parse_csv`). The row's name is the path without suffix, its
slashes written as `__`; of a URL it is the last part, which no two URLs may share.

A root on a web server (`https://…`) works too: as it lists no folders, the lines name the images
with their suffixes, and the server is asked for each `masks/a.png`.

A label map belongs to the image as a viewer shows it; see `sources.load` about EXIF orientation.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from unicodedata import normalize

from qaclims_ray.ingest.label_files import (
    Line,
    label_indices,
    parse_csv,
    parse_jsonl,
    resolve_names,
)
from qaclims_ray.ingest.sources import Listing, Source, first_of_each_name
from qaclims_ray.storage.errors import attempt, separate
from qaclims_ray.storage.files import existing, list_files, read_text
from qaclims_ray.storage.paths import WEB, check_inside, join, locate

LABEL_FILES = ("labels.csv", "labels.jsonl")
"""Where the labels are looked for."""
URL_SCHEMES = (*WEB, "s3://", "gs://")
"""What may stand before an image's address; local files are read below the root only."""

_CLASSES = "classes.txt"


def read_folder(
    root: str,
    *,
    class_names: Sequence[str] | None = None,
    labels_file: str | None = None,
    unlabelled: bool = False,
) -> Listing:
    """List a folder.

    Args:
        root: path or URL.
        class_names: names in the order of their indices; default: `classes.txt`, else the names
            in the labels file, sorted.
        labels_file: `.csv` or `.jsonl`, below `root` or by absolute path or URL; default:
            whichever of `LABEL_FILES` is there.
        unlabelled: list the images without a line too; then no labels file is needed.

    Raises:
        ValueError: the labels file is missing, or gives class indices and nobody their names. What
            concerns one image only is in `Listing.errors`, with its line number.
    """
    files = _files(root)
    lines, errors = _read_lines(root, files, labels_file, unlabelled)
    names = resolve_names(
        [label for line in lines for label in line.labels],
        class_names,
        join(root, _CLASSES) if _CLASSES in files else None,
    )
    images = _by_path(files)
    lines_of, not_found = _group(lines, None if root.startswith(WEB) else images)
    without = sorted(set(images.values()) - lines_of.keys())
    if unlabelled:
        lines_of |= {path: [] for path in without}
    masks = _masks(root, files, lines_of)
    sources, unusable = separate(
        (_called(path, about), attempt(_source, root, path, about, names, masks[path]))
        for path, about in lines_of.items()
    )
    sources, repeated = first_of_each_name(sources)
    num_unlabelled = 0 if unlabelled else len(without)
    return Listing(sources, errors + not_found + unusable + repeated, names, num_unlabelled)


def _files(root: str) -> list[str]:
    """Files below the root, relative to it; of a web server only those beside the images."""
    if not root.startswith(WEB):
        return list_files(root)
    wanted = {join(root, name): name for name in (*LABEL_FILES, _CLASSES)}
    return [wanted[url] for url in existing(list(wanted))]


def _read_lines(
    root: str, files: Collection[str], given: str | None, optional: bool
) -> tuple[list[Line], list[tuple[str, str]]]:
    """The lines of the labels file, and (name, reason) of those that cannot be read."""
    file = given or next((name for name in LABEL_FILES if name in files), None)
    if file is None and optional:
        return [], []
    if file is None:
        raise ValueError(
            f"{root}: no {' or '.join(LABEL_FILES)}; expected lines such as 'a.jpg,cat;dog' "
            "beside the folder images"
        )
    text = read_text(locate(root, file), "labels, one image per line")
    try:
        lines, broken = parse_jsonl(text) if file.endswith(".jsonl") else parse_csv(text)
    except ValueError as error:
        raise ValueError(f"{locate(root, file)}: {error}") from error
    return lines, [(f"{file} (line {n})", f"line {n}: {reason}") for n, reason in broken]


def _by_path(files: Iterable[str]) -> dict[str, str]:
    """Path of each image from what a line may call it: with and without suffix."""
    images = [file for file in files if file.startswith("images/")]
    full = {normalize("NFC", file.removeprefix("images/")): file for file in images}
    bare = {_bare(path): file for path, file in full.items()}
    return bare | full


def _group(
    lines: Iterable[Line], images: Mapping[str, str] | None
) -> tuple[dict[str, list[Line]], list[tuple[str, str]]]:
    """The lines about each image, by its path or URL; (name, reason) of images not found.

    Args:
        lines: of the labels file.
        images: path of each image from what a line may call it; None: nobody can list them.
    """
    lines_of: dict[str, list[Line]] = {}
    errors: list[tuple[str, str]] = []
    for line in lines:
        path = attempt(_find, line.image, images)
        if isinstance(path, ValueError):
            errors.append((f"{line.image} (line {line.number})", f"line {line.number}: {path}"))
        else:
            lines_of.setdefault(path, []).append(line)
    return lines_of, errors


def _find(image: str, images: Mapping[str, str] | None) -> str:
    if image.startswith(URL_SCHEMES):
        if not _below(image):
            raise ValueError(f"{image} names no file")
        return image
    if images is None:
        return f"images/{check_inside(image)}"
    path = images.get(normalize("NFC", image))
    if path is None:
        raise ValueError(f"no image {image!r} in the folder images")
    return path


def _masks(
    root: str, files: Collection[str], lines_of: Mapping[str, Iterable[Line]]
) -> dict[str, str | None]:
    """The label map of each image: the one that a line gives, or the one of its name if any."""
    usual = {path: f"masks/{_bare(_below(path))}.png" for path in lines_of}
    there = {file for file in files if file.startswith("masks/")}
    if root.startswith(WEB):
        found = existing([join(root, mask) for mask in usual.values()])
        there = {mask for mask in usual.values() if join(root, mask) in found}
    masks: dict[str, str | None] = {}
    for path, about in lines_of.items():
        given = next((line.mask for line in about if line.mask), None)
        if given is not None:
            masks[path] = given
        else:
            masks[path] = usual[path].removeprefix("masks/") if usual[path] in there else None
    return masks


def _source(
    root: str, path: str, lines: Sequence[Line], names: Sequence[str], mask: str | None
) -> Source:
    """The image at a path or URL, with the labels that all lines about it name, if there are any.

    Without any line nobody knows its labels.
    """
    labels: set[int] = set()
    for line in lines:
        try:
            labels.update(label_indices(line.labels, names))
        except ValueError as error:
            raise ValueError(f"line {line.number}: {error}") from error
    remote = mask is not None and mask.startswith(URL_SCHEMES)
    return Source(
        name=normalize("NFC", _bare(_below(path)).replace("/", "__")),
        image=path if path.startswith(URL_SCHEMES) else join(root, path),
        labels=sorted(labels) if lines else None,
        mask=mask if mask is None or remote else join(root, "masks", check_inside(mask)),
        annotations=None,
    )


def _called(path: str, lines: Sequence[Line]) -> str:
    return f"{path} (line {lines[0].number})" if lines else path


def _below(path: str) -> str:
    """An image's path below `images`, or the last part of its URL."""
    if path.startswith(URL_SCHEMES):
        return path.partition("?")[0].rpartition("/")[2]
    return path.removeprefix("images/")


def _bare(path: str) -> str:
    """The path without suffix."""
    folder, slash, last = path.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"
