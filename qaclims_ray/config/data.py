"""The section `data`: where images and labels come from."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from qaclims_ray.config.base import Fraction, Names, Section


class Dataset(Section):
    """The keys that all data sets share."""

    limit: PositiveInt | None = None
    """Number of images to take, the first by name, for a try; null takes all."""
    max_pixels: int = Field(100_000_000, gt=0, le=178_956_970)
    """Larger images are recorded as errors rather than decoded (decompression bombs); Pillow's
    own limit is 178,956,970."""
    max_side: PositiveInt | None = None
    """Longest side in pixels of the images that networks see; larger ones are kept reduced to it
    (JPEG, quality 95), which bounds memory and time. Masks, label maps and scores have the size of
    the file's image: CAMs and label maps are enlarged to it. null: all images as they are, as
    published. Images that a segmenter is to predict want the value that it was trained with."""
    corrections: str | None = None
    """Masks that people corrected, which replace the ground truth of their images: a folder or URL
    with NAME.png, NAME.json (LabelMe) or NAME.txt (YOLO), or one COCO file that ends in .json."""
    max_errors: NonNegativeInt = 100
    """Rows of one artifact that may fail (recorded in `_errors`) before its stage gives up."""
    max_missing: Fraction = 0.5
    """Share of the listed images that ingest may miss, and of the published number of images where
    `kind` and `split` are those of a published set. 1 allows any."""
    shard_megabytes: PositiveFloat = 64.0
    """Size that the Parquet shards of every artifact aim at, in MB."""


class Voc12(Dataset):
    """PASCAL VOC 2012, or own data in its layout."""

    kind: Literal["voc12"]
    root: str
    """Folder or URL that holds JPEGImages, Annotations, ImageSets, SegmentationClass."""
    split: str = "train_aug"
    """Name of a list in ImageSets/Segmentation, or path or URL of a list that ends in .txt."""
    labels_file: str | None = None
    """The published cls_labels.npy, below root or by absolute path or URL; null reads the labels
    from Annotations."""
    masks: str | None = None
    """Folder of the label maps below root, used for scores only; null: SegmentationClass, or
    SegmentationClassAug for an augmented split."""


class Coco14(Dataset):
    """MS COCO 2014, or own data in its format: the file's categories are the classes."""

    kind: Literal["coco14"]
    root: str
    """Folder or URL that holds train2014, val2014 and annotations."""
    split: Literal["train", "val"] = "train"
    annotations: str | None = None
    """Instances file, below root or by absolute path or URL; null: that of the split."""
    images: str | None = None
    """Folder of the images, below root or by absolute path or URL; null: that of the split."""
    unlabelled: bool = False
    """Take the images without instances too, as images whose labels are unknown: they may be asked
    questions that name no class, but are neither trained on nor get CAMs."""
    classes: dict[str, str] | None = None
    """Where COCO's 80 classes are wanted of a file of one's own: the class of each category that is
    called otherwise there, such as {automobile: car}, or {} if none is. null: the file's categories
    are the classes, in the order of their ids."""
    crowds: Literal["ignore", "class", "drop"] = "ignore"
    """How the ground truth shows crowd regions: as ignored, as their class, or not at all. Labels
    count them always. Published lists differ in this and in `overlap`, and scores with them."""
    overlap: Literal["larger_first", "file_order"] = "larger_first"
    """The order in which the ground truth is drawn, the last on top: crowds, then objects from the
    largest to the smallest, or all as the file lists them."""


class Folder(Dataset):
    """Own images: `images/**`, `labels.csv` or `labels.jsonl`, and optionally `masks/`."""

    kind: Literal["folder"]
    root: str
    """Folder or URL; one of a web server (https://…) needs a labels file that names all images."""
    labels_file: str | None = None
    """A .csv or .jsonl, below root or by absolute path or URL; null: labels.csv or labels.jsonl."""
    labels: Literal["file", "yolo", "folders"] = "file"
    """Where labels are: in the labels file; in YOLO's labels/a.txt of images/a.jpg, boxes or
    polygons, whose classes are named in data.yaml or classes.txt; or in the folder of the image,
    images/CLASS/a.jpg. The last two need a root whose folders can be listed."""
    class_names: Names | None = None
    """Names in the order of their indices; null: those in classes.txt below root, else the names
    in the labels file, sorted."""
    unlabelled: bool = False
    """Take images without labels too, or without any labels file: they may be asked questions that
    name no class, but are neither trained on nor get CAMs."""


class WebDataset(Dataset):
    """Tars of `<key>.jpg`, labels in `<key>.cls` or `.json`, maybe `<key>.mask.png`."""

    kind: Literal["webdataset"]
    shards: str | Names
    """Uncompressed tars: paths or URLs, with `*` or braces such as `train-{000..012}.tar`."""
    class_names: Names | None = None
    """Names in the order of their indices; null: those in classes_file, else the names among the
    labels, sorted."""
    classes_file: str | None = None
    """Path or URL of a file with one class name per line."""
    label_suffixes: tuple[Literal["cls", "json", "txt"], ...] = ("cls", "json")
    """Suffixes of members that hold labels; the first that is there counts. Most published tars
    hold captions in `txt`, and some hold other facts in `json`: then leave it out."""
    unlabelled: bool = False
    """Take images without labels too: they may be asked questions that name no class, but are
    neither trained on nor get CAMs."""


class Images(Dataset):
    """Images alone: no labels, no masks; for `new_images`, or a corpus about the images as such."""

    kind: Literal["images"]
    location: str
    """A folder or URL of a store with images anywhere below it; a .tar, or several by `*` or
    braces; a .txt with the path or URL of one image per line; or a single image."""


class Demo(Dataset):
    """The built-in image world, written in the VOC 2012 layout and read like it."""

    kind: Literal["demo"]
    split: Literal["train", "tune", "val"] = "train"
    """train and tune: classes in their home scenes (biased); val: any class in any scene."""
    num_images: PositiveInt = 600
    seed: NonNegativeInt = 0


Data: TypeAlias = Annotated[
    Voc12 | Coco14 | Folder | WebDataset | Images | Demo, Field(discriminator="kind")
]
"""The section `data`, by its `kind`."""
