"""Words and shapes that the whole package shares.

Axes, in the order in which they appear in every annotation:

    B  images of a batch            P  pairs: (image, class that its labels name)
    C  classes, background excluded L  texts
    D  CLIP feature                 H W  pixels         h w  CAM cells
    T  thresholds                   K  classes including background (C + 1)

Class indices run from 0 to C - 1. A label map holds `BACKGROUND` (0), class index + 1, or `IGNORE`
(255).

A run keeps one Parquet table per artifact. Each has a row type and an Arrow schema here.
"""

from typing import Literal, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

BACKGROUND = 0
"""Value of background pixels in label maps."""
IGNORE = 255
"""Value of label-map pixels that no score and no loss counts."""
NO_CLASS = -1
"""Label of answers that are about no class but the image as a whole."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel, for pixels in [0, 1]: how the images of all networks are normalised."""

Image = UInt8[np.ndarray, "H W 3"]
"""RGB pixels, 0 to 255."""
LabelMap = UInt8[np.ndarray, "H W"]
"""`BACKGROUND`, class index + 1, or `IGNORE` for each pixel."""

Kind = Literal["fg", "bg"]
"""Whether a question asks for the foreground or for the background."""


class ImageRow(TypedDict):
    """One image with its image-level labels (artifact `images`)."""

    name: str
    image: bytes
    """The encoded file, unchanged; or reduced to `data.max_side`."""
    height: int
    """Pixels of the file and its mask."""
    width: int
    labels: list[int] | None
    """Class indices, sorted, unique; empty: the image shows no class; null: nobody knows."""
    mask: bytes | None
    """Ground truth as an encoded PNG label map; used for scores only, never for training."""


class Answer(TypedDict):
    """What the VQA model said to one question about one class of an image, or about all of it."""

    label: int
    """Class index, or `NO_CLASS` (-1) where the question names no class."""
    kind: Kind
    question: str
    answer: str
    """Text as it was generated."""
    lemma: str
    """The answer lemmatised as a noun."""


class Unanswered(TypedDict):
    """A question that the VQA model wrote no answer to."""

    label: int
    kind: Kind
    question: str
    fault: str
    """`cut`, `empty` or `refused`, see `corpus.answers`."""
    text: str
    """What it wrote instead."""


class CorpusRow(TypedDict):
    """All answers about one image (artifact `corpus`)."""

    name: str
    answers: list[Answer]
    unanswered: NotRequired[list[Unanswered] | None]
    """Null where all questions were answered, and in artifacts of earlier versions."""


class TextPair(TypedDict):
    """The texts that a pair (image, class) contrasts with its regions."""

    label: int
    """Class index."""
    foreground: list[str]
    """Prompts, one per foreground answer; none: the class name alone counts."""
    background: list[str]
    """Unique; none: neither loss counts the pair."""


class PairsRow(TypedDict):
    """The pairs of one image (artifact `pairs`)."""

    name: str
    pairs: list[TextPair]


class TextRow(TypedDict):
    """One unique text and its CLIP feature, L2-normalised (artifact `texts`)."""

    text: str
    feature: list[float]


class CamRow(TypedDict):
    """The CAMs of one image (artifact `cams`)."""

    name: str
    height: int
    width: int
    classes: list[int]
    """Class indices of the labels; one map each."""
    cam: bytes
    """float16, C-contiguous, shape `(len(classes), cam_height, cam_width)`, values in [0, 1]."""
    cam_height: int
    cam_width: int


class LabelMapRow(TypedDict):
    """The label map of one image (artifacts `seeds`, `masks` and `predictions`)."""

    name: str
    height: int
    width: int
    label_map: bytes | None
    """Encoded paletted PNG; null: nobody knows the labels that it would be made with."""
    decided: float | None
    """Share of the pixels that are not `IGNORE`."""


class ScoreRow(TypedDict):
    """Counts of one image (artifact `scores`), all of them int32; k classes, T thresholds."""

    name: str
    classes: list[int] | None
    """Values of label maps, the background first; null for an image that is not scored."""
    areas: bytes | None
    """Confusion matrices, shape `(T, k, k)`."""
    boundaries: bytes | None
    """Bands along boundaries: hits `(T, k)`, predicted `(T, k)`, true `(1, k)`."""


_ANSWER = pa.struct(
    [
        ("label", pa.int32()),
        ("kind", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("lemma", pa.string()),
    ]
)

_UNANSWERED = pa.struct(
    [
        ("label", pa.int32()),
        ("kind", pa.string()),
        ("question", pa.string()),
        ("fault", pa.string()),
        ("text", pa.string()),
    ]
)

REPLY_FIELDS = (
    pa.field("question", pa.string()),
    pa.field("answer", pa.string()),
    pa.field("fault", pa.string()),
    pa.field("text", pa.string()),
)
"""What was said to a question: an answer as generated, or the fault and the text instead of it."""

NOTES: dict[str, list[pa.Field]] = {
    "corpus": [
        pa.field("key", pa.string()),
        pa.field("asked", pa.list_(pa.struct(REPLY_FIELDS))),
        pa.field("taken", pa.int32()),
    ]
}
"""What unfinished blocks of a kind of artifact note of each row beside it, for their stage alone.

Of a corpus: the image's key in `corpus.cache`, what the engine was asked about it, and how many
replies were there already. Null where nothing is kept.
"""

_PAIR = pa.struct(
    [
        ("label", pa.int32()),
        ("foreground", pa.list_(pa.string())),
        ("background", pa.list_(pa.string())),
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    "images": pa.schema(
        [
            ("name", pa.string()),
            ("image", pa.binary()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("labels", pa.list_(pa.int32())),
            ("mask", pa.binary()),
        ]
    ),
    "corpus": pa.schema(
        [
            ("name", pa.string()),
            ("answers", pa.list_(_ANSWER)),
            ("unanswered", pa.list_(_UNANSWERED)),
        ]
    ),
    "pairs": pa.schema([("name", pa.string()), ("pairs", pa.list_(_PAIR))]),
    "texts": pa.schema([("text", pa.string()), ("feature", pa.list_(pa.float32()))]),
    "cams": pa.schema(
        [
            ("name", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("classes", pa.list_(pa.int32())),
            ("cam", pa.binary()),
            ("cam_height", pa.int32()),
            ("cam_width", pa.int32()),
        ]
    ),
    "label_maps": pa.schema(
        [
            ("name", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("label_map", pa.binary()),
            ("decided", pa.float64()),
        ]
    ),
    "scores": pa.schema(
        [
            ("name", pa.string()),
            ("classes", pa.list_(pa.int32())),
            ("areas", pa.binary()),
            ("boundaries", pa.binary()),
        ]
    ),
}
"""Arrow schema of each kind of table artifact; the first column is its key."""
