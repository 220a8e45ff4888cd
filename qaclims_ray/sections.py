"""The sections of an experiment, in pipeline order; `config.py` joins them.

A string below a field documents it, with its unit; `jobs/show_config.py` prints them.
What changes a result lives in `data` to `evaluate`. `Compute` alone holds actors, workers and batch
sizes per actor: another cluster changes nothing else. `compute.train.num_workers` alone has an
effect on results.
"""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

Precision = Literal["float32", "float16", "bfloat16"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Dataset(Section):
    """What every source of images shares."""

    limit: PositiveInt | None = None
    """Take only the first so many images of the split, for a try; null takes all."""
    max_pixels: int = Field(100_000_000, gt=0, le=178_956_970)
    """Larger images are recorded as errors rather than decoded (decompression bombs); Pillow's
    own limit is 178,956,970."""
    max_errors: NonNegativeInt = 100
    """Rows of one artifact that may fail (recorded in `_errors`) before its stage gives up."""
    shard_megabytes: PositiveFloat = 64.0
    """Size that the Parquet shards of every artifact aim at, in MB."""


class Voc12(Dataset):
    """PASCAL VOC 2012, or own data in its layout."""

    kind: Literal["voc12"]
    root: str
    """Folder or URL that holds JPEGImages, Annotations, ImageSets, SegmentationClass."""
    split: str = "train_aug"
    """Name of a list in ImageSets/Segmentation, or path of a list that ends in .txt."""
    labels_file: str | None = None
    """The published cls_labels.npy; null reads the labels from Annotations."""
    masks: str | None = None
    """Folder of the label maps below root, used for scores only; null: SegmentationClass, or
    SegmentationClassAug for an augmented split."""


class Coco14(Dataset):
    """MS COCO 2014."""

    kind: Literal["coco14"]
    root: str
    """Folder or URL that holds train2014, val2014 and annotations."""
    split: Literal["train", "val"] = "train"


class Folder(Dataset):
    """Own images: `images/**`, `labels.csv` or `labels.jsonl`, and optionally `masks/`."""

    kind: Literal["folder"]
    root: str
    class_names: tuple[str, ...] | None = None
    """Names in the order of their indices; null takes the names in the labels file, sorted."""


class Demo(Dataset):
    """The built-in image world, written in the VOC 2012 layout and read like it."""

    kind: Literal["demo"]
    split: Literal["train", "tune", "val"] = "train"
    """train and tune: classes in their home scenes (biased); val: any class in any scene."""
    num_images: PositiveInt = 600
    seed: NonNegativeInt = 0


class Blip(Section):
    """BLIP visual question answering by transformers."""

    kind: Literal["blip"]
    model: str = "Salesforce/blip-vqa-capfilt-large"
    """Hub id or local directory; `package:` points into this package."""
    num_beams: PositiveInt = 3
    max_length: PositiveInt = 10
    """Longest answer in tokens, the start token included."""
    precision: Precision = "float32"
    """Of the weights; float16 and bfloat16 are for GPUs."""


class Chat(Section):
    """Any vision-language model that chats, by transformers: SmolVLM, Qwen-VL, LLaVA and so on."""

    kind: Literal["chat"]
    model: str
    """Hub id or local directory."""
    instruction: str = "Answer with one or a few words."
    """Put behind each question."""
    max_new_tokens: PositiveInt = 10
    precision: Precision = "float32"
    """Of the weights; float16 and bfloat16 are for GPUs."""


class Table(Section):
    """Answers written by hand: what a method without a VQA model says."""

    kind: Literal["table"]
    answers: dict[str, str]
    """Each question, class name filled in, to its answer."""


class Questions(Section):
    """Question templates; `{}` stands for the class name. Empty lists: the paper's 6 and 10."""

    foreground: tuple[str, ...] = ()
    background: tuple[str, ...] = ()


class Texts(Section):
    """Which texts a pair (image, class) contrasts with its regions."""

    template: str = "a photo of {}."
    """Prompt around each text."""
    foreground: Literal["answers", "class_name"] = "answers"
    """answers: half the class name, half the mean of the prompts; class_name: it alone (CLIMS)."""
    backgrounds: Literal["answers"] | tuple[str, ...] = "answers"
    """answers: what the VQA model said about this image; or a fixed list for all images (CLIMS)."""


class Corpus(Section):
    """Questions and answers about each (image, class)."""

    engine: Annotated[Blip | Chat | Table, Field(discriminator="kind")] = Blip(kind="blip")
    questions: Questions = Questions()
    expected_names: dict[str, tuple[str, ...]] = {}
    """More names of a class that an answer may contain and then needs no class name appended."""
    texts: Texts = Texts()


class Clip(Section):
    """The frozen CLIP that judges regions."""

    model: str = "ViT-L-14"
    """open_clip model name, or a directory in open_clip's local layout; `package:` as above."""
    pretrained: str | None = "openai"
    """open_clip tag, or a weights file (open_clip's, OpenAI's, OVSeg's); null for a directory."""
    mask_prompt_depth: NonNegativeInt = 0
    """Blocks whose masked-out tokens are replaced by mask embeddings; 0: multiply view by mask."""
    normalisation: Literal["imagenet", "clip"] = "imagenet"
    """Mean and std of the views. Published: imagenet, as the CAM network sees them."""


class Model(Section):
    """The networks."""

    backbone: str = "resnet50"
    """resnet50 (output stride 16) or small_resnet (stride 8, the demo's)."""
    backbone_weights: str | None = "imagenet"
    """imagenet (torchvision's), a weights file, or null for random; `package:` as above."""
    clip: Clip = Clip()


class Optimiser(Section):
    """How parameters move. Polynomial decay of the learning rate to 0."""

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 3.5e-4
    head_factor: PositiveFloat = 10.0
    """The classifier's learning rate in units of the backbone's."""
    momentum: NonNegativeFloat = 1e-4
    """SGD only. The published code passes its weight decay here: 1e-4, not 0.9."""
    weight_decay: NonNegativeFloat = 1e-4
    power: PositiveFloat = 0.9
    """Of the polynomial decay."""
    max_grad_norm: PositiveFloat | None = None
    """Gradients are scaled down to this norm; null leaves them."""


class Augment(Section):
    """Random changes of training images; derived from seed, epoch and name alone."""

    resize_long: tuple[PositiveInt, PositiveInt] | None = (320, 640)
    """Range of the long side in pixels; null keeps the size."""
    crop: PositiveInt | None = 512
    """Side of the square crop, padded with the mean colour; null: images must share one size."""
    flip: bool = True


class Fit(Section):
    """What both trainings share."""

    epochs: PositiveInt = 15
    images_per_worker: PositiveInt = 4
    """Batch size of one worker; the global batch is this times `compute.train.num_workers`."""
    optimiser: Optimiser = Optimiser()
    augment: Augment = Augment()
    fix_batch_norm: bool = False
    """Keep the statistics of batch normalisation as they were loaded."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of both networks' forward passes."""


class Classifier(Fit):
    """Multi-label classifier, whose CAMs are the baseline and whose weights RITC starts from."""

    epochs: PositiveInt = 5
    images_per_worker: PositiveInt = 16
    optimiser: Optimiser = Optimiser(learning_rate=0.1)
    fix_batch_norm: bool = True


class Loss(Section):
    """Weights of the three terms."""

    foreground: NonNegativeFloat = 10.0
    """Of the foreground region-text contrast (FRC)."""
    background: NonNegativeFloat = 8.0
    """Of the background region-text contrast (BRC)."""
    area: NonNegativeFloat = 0.2
    """Of the mean CAM value (REG), which keeps the maps small."""
    per_pair: bool = False
    """Divide FRC and BRC by the number of pairs. Published: sums over the batch's pairs."""


class Ritc(Fit):
    """Region image-text contrast: QA-CLIMS's own training."""

    loss: Loss = Loss()
    temperature: PositiveFloat = 0.7
    """Divides the cosine similarities."""
    alpha: Fraction = 0.1
    """A cell belongs to the foreground region from this share of its CAM's maximum on."""
    head_scale: PositiveFloat = 1.0
    """Factor on the classifier's weights at the start: below 1 frees a saturated sigmoid."""


class Train(Section):
    """The two trainings."""

    seed: NonNegativeInt = 0
    classifier: Classifier = Classifier()
    ritc: Ritc = Ritc()


class Cams(Section):
    """Class activation maps of every image."""

    scales: tuple[PositiveFloat, ...] = (1.0, 0.5, 1.5, 2.0)
    """Image scales; each also flipped; maps are summed."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """On the logits before fusion. Published: relu."""
    resolution: Literal["strided", "full"] = "strided"
    """strided: (side - 1) // 4 + 1 cells; full: one per pixel (16 times the size)."""


class Evaluate(Section):
    """Scores of CAMs against the ground truth."""

    thresholds: tuple[Fraction, ...] = tuple(round(0.01 * i, 2) for i in range(1, 100))
    """Background scores to try, all in one pass; ascending."""
    threshold: Fraction = 0.15
    """Background score of the fixed-threshold figures (the published default)."""


class Pool(Section):
    """Actors (or tasks) of one map stage."""

    num_actors: PositiveInt = 1
    """How many, at least."""
    max_actors: PositiveInt | None = None
    """The pool grows to so many while work waits and the cluster has room; null: it never does."""
    num_cpus: NonNegativeFloat = 1.0
    """CPUs of each."""
    num_gpus: NonNegativeFloat = 0.0
    """GPUs of each; 0.25 packs four on one."""
    batch_size: PositiveInt = 32
    """Images handed to an actor at a time."""
    block_rows: PositiveInt = 64
    """Images of a written block: what a crash loses at most, for each actor."""


class Workers(Section):
    """Ray Train workers."""

    num_workers: NonNegativeInt = 1
    """0 trains in the driver's process: without Ray Train's start-up, and without checkpoints to
    resume from. Part of every training's recipe, as it sets the global batch."""
    use_gpu: bool = False
    num_cpus: PositiveFloat = 1.0
    """CPUs of each worker, its torch threads."""
    loader_processes: NonNegativeInt = 0
    """Processes of each worker that decode and augment ahead; 0 does it in the worker."""
    max_failures: NonNegativeInt = 3
    """Restarts from the last checkpoint."""


class Compute(Section):
    """Where the work runs; of all this, `train.num_workers` alone changes a result."""

    address: str | None = None
    """Of a running Ray cluster (`auto` finds it); null starts Ray on this machine."""
    num_cpus: PositiveInt | None = None
    """CPUs of a Ray started here; null: the machine's, at least 4 (waiting actors hold some)."""
    object_store_megabytes: PositiveInt | None = None
    """Object store of a Ray started here, in MB; null: Ray's default."""
    ingest: Pool = Pool(num_actors=2, block_rows=512)
    corpus: Pool = Pool()
    texts: Pool = Pool(batch_size=256)
    train: Workers = Workers()
    cams: Pool = Pool()
    evaluate: Pool = Pool()
