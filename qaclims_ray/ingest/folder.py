"""A plain folder of own images, with any number of classes.

    <root>/images/**          images, in subfolders or not
    <root>/labels.csv         lines `a.jpg,cat;dog`
    <root>/labels.jsonl       or lines `{"image": "a.jpg", "labels": ["cat", "dog"]}`
    <root>/classes.txt        optional: class names, one per line, in the order of their indices
    <root>/masks/**           optional: label maps a.png, where the image is images/a.jpg

A line names an image by its path below `images`, with or without suffix, or by a URL (`https://…`,
`s3://…`, `gs://…`). Without suffix it means the picture of that name, whatever other files have it
too; a line that fits two pictures is an error. Several lines about one image add up. A line without
labels means that the image shows none of the classes; an image without a line is unlabelled and
left out, unless asked for. A label is a class name or, where classes are listed, a class index
(from 0). A CSV may have a header, and columns of 1 and 0 instead of labels (see `label_table`). A
column or key `mask` names a label map below `masks` or by a URL. The row's name is the path without
suffix, its slashes written as `__`; of a URL it is the last part, which no two URLs may share.

A root on a web server (`https://…`) works too: as it lists no folders, the lines name the images
with their suffixes, and the server is asked for each `masks/a.png`.

Labels may also lie in folders: see `label_folders`.

A label map belongs to the image as a viewer shows it; see `sources.load` about EXIF orientation.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias
from unicodedata import normalize

from qaclims_ray.ingest.folder_files import (
    URL_SCHEMES,
    find_masks,
    image_path,
    images_by_spelling,
    images_in,
    relative_path,
    stem,
    unused_masks,
)
from qaclims_ray.ingest.label_files import (
    Line,
    by_name,
    check_no_one_hot,
    label_indices,
    parse_jsonl,
    resolve_names,
)
from qaclims_ray.ingest.label_folders import folder_lines, yolo_lines, yolo_names
from qaclims_ray.ingest.label_table import parse_csv
from qaclims_ray.ingest.sources import Listing, Source, first_of_each_name
from qaclims_ray.storage.errors import Failures, attempt, separate
from qaclims_ray.storage.files import read_text
from qaclims_ray.storage.listing import existing, list_files
from qaclims_ray.storage.paths import WEB, check_inside, join, locate

Labels: TypeAlias = Literal["file", "yolo", "folders"]
LABEL_FILES = ("labels.csv", "labels.jsonl")
"""Files that may hold the labels."""
CLASSES_FILE = "classes.txt"
"""File that may hold the class names."""


def read_folder(
    root: str,
    *,
    class_names: Sequence[str] | None = None,
    labels_file: str | None = None,
    labels: Labels = "file",
    unlabelled: bool = False,
) -> Listing:
    """List a folder.

    Args:
        root: path or URL.
        class_names: names in the order of their indices; default: `classes.txt`, else the names
            in the labels file, sorted.
        labels_file: `.csv` or `.jsonl`, below `root` or by absolute path or URL; default:
            whichever of `LABEL_FILES` is there.
        labels: where labels are: in that file, or in folders (see `label_folders`).
        unlabelled: list the images without a line too; then no labels file is needed.

    Raises:
        ValueError: the labels file is missing, or gives class indices without their names. Errors
            of single images are in `Listing.errors`, with their line number.
    """
    on_web = root.startswith(WEB)
    files = _fixed_files(root) if on_web else list_files(root)
    images = None if on_web else images_by_spelling(files)

    def is_image(cell: str) -> bool:
        return cell.startswith(URL_SCHEMES) or normalize("NFC", cell) in (images or ())

    if labels == "yolo":
        class_names = class_names or yolo_names(root, files)
        known = None if class_names is None else len(class_names)
        lines, errors = yolo_lines(root, files, known)
    elif labels == "folders":
        lines, errors = folder_lines(root, files), []
    else:
        lines, errors = _read_lines(root, files, labels_file, is_image, optional=unlabelled)
    names = resolve_names(
        [label for line in lines for label in line.labels],
        class_names,
        join(root, CLASSES_FILE) if CLASSES_FILE in files else None,
    )
    lines_of, not_found = _group_by_image(lines, images)
    without = sorted(images_in(files) - lines_of.keys())
    if unlabelled:
        lines_of |= {path: [] for path in without}
    indices = by_name(names)
    masks = find_masks(root, files, lines_of)
    sources, unusable = separate(
        (
            f"{path} (line {about[0].number})" if about else path,
            attempt(_source, root, path, about, indices, masks[path]),
        )
        for path, about in lines_of.items()
    )
    sources, repeated = first_of_each_name(sources)
    return Listing(
        sources,
        errors + not_found + unusable + repeated,
        names,
        0 if unlabelled else len(without),
        unused_masks(files, masks.values()),
    )


def _fixed_files(root: str) -> list[str]:
    """Ask a web server, which lists no folders, for the files that stand beside the images."""
    wanted = {join(root, name): name for name in (*LABEL_FILES, CLASSES_FILE)}
    return [wanted[url] for url in existing(list(wanted))]


def _read_lines(
    root: str,
    files: Collection[str],
    given: str | None,
    is_image: Callable[[str], bool],
    *,
    optional: bool,
) -> tuple[list[Line], Failures]:
    """Read the labels file; lines that cannot be read fail alone."""
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
        is_json = file.endswith(".jsonl")
        lines, broken = parse_jsonl(text) if is_json else parse_csv(text, is_image)
        check_no_one_hot(
            {len(line.labels) for line in lines}, {label for line in lines for label in line.labels}
        )
    except ValueError as error:
        raise ValueError(f"{locate(root, file)}: {error}") from error
    return lines, [(f"{file} (line {n})", f"line {n}: {reason}") for n, reason in broken]


def _group_by_image(
    lines: Iterable[Line], images: Mapping[str, Sequence[str]] | None
) -> tuple[dict[str, list[Line]], Failures]:
    """Group lines by the path or URL of their image; lines about no image fail.

    Args:
        lines: lines of the labels file.
        images: paths that each spelling fits; None where they cannot be listed.
    """
    lines_of: dict[str, list[Line]] = {}
    failures: Failures = []
    for line in lines:
        path = attempt(image_path, line.image, images)
        if isinstance(path, ValueError):
            failures.append((f"{line.image} (line {line.number})", f"line {line.number}: {path}"))
        else:
            lines_of.setdefault(path, []).append(line)
    return lines_of, failures


def _source(
    root: str, path: str, lines: Sequence[Line], indices: Mapping[str, int], mask: str | None
) -> Source:
    """Make the source of an image from all lines about it; without any its labels are unknown."""
    labels: set[int] = set()
    for line in lines:
        try:
            labels.update(label_indices(line.labels, indices))
        except ValueError as error:
            raise ValueError(f"line {line.number}: {error}") from error
    if mask is not None and not mask.startswith(URL_SCHEMES):
        mask = join(root, "masks", check_inside(mask))
    return Source(
        name=normalize("NFC", stem(relative_path(path)).replace("/", "__")),
        image=path if path.startswith(URL_SCHEMES) else join(root, path),
        labels=sorted(labels) if lines else None,
        mask=mask,
        annotations=None,
    )
