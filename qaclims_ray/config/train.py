"""The section `train`: how networks are trained."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from qaclims_ray.config.base import Fraction, Range, Section


class Optimiser(Section):
    """Optimiser, whose learning rate decays polynomially to 0."""

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 3.5e-4
    head_lr_multiplier: PositiveFloat = 10.0
    """The classifier's learning rate in units of the backbone's."""
    momentum: NonNegativeFloat = 1e-4
    """SGD only. The published code passes its weight decay here: 1e-4, not 0.9."""
    weight_decay: NonNegativeFloat = 1e-4
    power: PositiveFloat = 0.9
    """Exponent of the polynomial decay."""
    max_grad_norm: PositiveFloat | None = None
    """Gradients are scaled down to this norm; null leaves them."""


class Augment(Section):
    """Random changes of training images; derived from seed, epoch and name alone."""

    resize_long: Range[PositiveInt] | None = (320, 640)
    """Range of the long side in pixels; null keeps the size."""
    scale: Range[PositiveFloat] | None = None
    """Range of the factor on both sides, where `resize_long` is null; null keeps the size."""
    crop: PositiveInt | None = 512
    """Side of the square crop, padded with the mean colour; null: images must share one size."""
    flip: bool = True


class Fit(Section):
    """Settings that all trainings share."""

    epochs: PositiveInt = 15
    batch_size_per_worker: PositiveInt = 4
    """Batch size of one worker; the global batch, the images of a step, is this times
    `compute.train.num_workers` times `gradient_accumulation`. What is left at an epoch's end,
    less than a step, is seen in other epochs, whose orders differ."""
    gradient_accumulation: PositiveInt = 1
    """Batches of a worker that make one step; their gradients are averaged, as those of workers
    are. One worker with 2 takes the steps of two workers with 1 where batch normalisation is
    frozen, or `batch_norm_statistics` is step. Else each batch is normalised by its own
    statistics, where GPUs share theirs: another gradient (cosine 0.1 to 0.6 on the demo, once
    trained), and running statistics that move twice a step."""
    batch_norm_statistics: Literal["batch", "step"] = "batch"
    """Where batch normalisation trains: images whose statistics normalise an image. batch: those of
    its batch, of all workers on GPUs (as published, on several GPUs). step: of all accumulated
    batches too, which pass the network as one: then a GPU with `gradient_accumulation: 2` equals
    two. Takes the network's memory for all of them, which
    `compute.train.activation_checkpointing` lowers, and CLIP's for one batch as before."""
    optimiser: Optimiser = Optimiser()
    augment: Augment = Augment()
    freeze_batch_norm: bool = False
    """Keep the statistics of batch normalisation as they were loaded."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of both networks' forward passes."""
    validate_every: PositiveInt | None = None
    """Epochs between two scores (mIoU of CAMs at its best threshold, on images with ground truth);
    null: none. Costs the time of so many CAMs; worker 0 makes them while the others wait."""
    validate_images: PositiveInt = 500
    """How many images are scored: always the same, drawn by the seed."""
    keep: Literal["last", "best"] = "last"
    """Which weights become the model: those at the end (published), or those of the best score.
    best: the masks of training images choose, so that supervision is no longer weak: all scores
    that follow say so."""

    @model_validator(mode="after")
    def _check_keep(self) -> "Fit":
        if self.keep == "best" and self.validate_every is None:
            raise ValueError("keep: best needs scores: set validate_every to a number of epochs")
        return self


class Classifier(Fit):
    """Multi-label classifier, whose CAMs are the baseline and whose weights RITC starts from."""

    epochs: PositiveInt = 5
    batch_size_per_worker: PositiveInt = 16
    optimiser: Optimiser = Optimiser(learning_rate=0.1)
    freeze_batch_norm: bool = True
    balance: Literal["none", "sampling", "weights"] = "none"
    """For classes of few images beside classes of many. none: as published. sampling: an epoch
    draws images of rare classes several times, so that its rarest class is seen about as often as
    its most frequent one. weights: what shows a rare class counts more in the loss, by as much,
    20 times at most."""


class Loss(Section):
    """Weights of the loss terms; the defaults are the paper's for VOC 2012."""

    foreground: NonNegativeFloat = 10.0
    """Weight of the foreground region-text contrast (FRC)."""
    background: NonNegativeFloat = 8.0
    """Weight of the background region-text contrast (BRC)."""
    area: NonNegativeFloat = 0.2
    """Weight of the mean CAM value (REG), which keeps the maps small."""
    clip_cams: NonNegativeFloat = 0.0
    """Weight of the cross entropy between the CAMs and those of the frozen CLIP of `cams.clip`,
    which are made before as `clip_cams`. 0 (published): none are made."""
    per_pair: bool = False
    """Divide FRC and BRC by the number of pairs, counted over all workers: their mean. Published:
    sums over the pairs of a worker's batch, averaged over workers."""


class Ritc(Fit):
    """Region image-text contrast (RITC), the training of QA-CLIMS."""

    loss: Loss = Loss()
    temperature: PositiveFloat = 0.7
    """Divides the cosine similarities."""
    alpha: Fraction = 0.1
    """A cell belongs to the foreground region from this share of its CAM's maximum on."""
    head_scale: PositiveFloat = 1.0
    """Factor on the classifier's weights at the start: below 1 frees a saturated sigmoid."""


class Irn(Fit):
    """Boundary network (IRN), which learns from seeds where pixels part; settings as published.

    The loss is a mean over the pairs of cells of all workers' batches. With `gradient_accumulation`
    it is the mean of such means.
    """

    epochs: PositiveInt = 3
    batch_size_per_worker: PositiveInt = 32
    optimiser: Optimiser = Optimiser(learning_rate=0.1)
    """`head_lr_multiplier` is the displacement branch's."""
    augment: Augment = Augment(resize_long=None, scale=(0.5, 1.5))
    backbone: str | None = None
    """resnet50 or small_resnet, which stays fixed; null: `model.backbone`."""
    backbone_weights: str | None = None
    """As `model.backbone_weights`; null takes that one where the backbone is that one."""
    radius: PositiveInt = 10
    """Pairs of cells, 4 pixels each, that are nearer than this are compared."""

    @model_validator(mode="after")
    def _check_scores(self) -> "Irn":
        if self.batch_norm_statistics == "step":
            raise ValueError(
                "a boundary network has no batch normalisation that trains: leave "
                "batch_norm_statistics at batch"
            )
        if self.validate_every is not None:
            raise ValueError(
                "a boundary network has no score of its own: leave validate_every null, and score "
                "the masks (qaclims evaluate --of masks)"
            )
        return self


class Segmenter(Fit):
    """The final network, which learns from pseudo masks and needs no labels to predict."""

    net: str | dict[str, Any] = "smp:DeepLabV3Plus/resnet50"
    """`smp:` and an architecture and encoder of segmentation_models_pytorch, `deeplabv2_resnet101`,
    `fcn:resnet50` (a CAM backbone with a 1x1 convolution), or a semantic segmentation network of
    transformers: Hub id, folder or configuration."""
    weights: str | None = "pretrained"
    """pretrained: the library's ImageNet weights of the encoder; a file, folder, tag or Hub id;
    null: random. `package:` as for `model.backbone_weights`."""
    pixel_supervised_weights: bool = False
    """Allow weights that were trained with pixel masks, such as DeepLab's from COCO. Scores are
    then no longer those of weak supervision, and say so."""
    epochs: PositiveInt = 30
    batch_size_per_worker: PositiveInt = 8
    optimiser: Optimiser = Optimiser(learning_rate=7e-3, momentum=0.9)
    bias_lr_multiplier: PositiveFloat = 1.0
    """Learning rate of biases, in units of that of their layer's weights. DeepLabV2: 2."""
    balance: Literal["halves", "none"] = "halves"
    """halves: background and foreground weigh equally in the cross entropy; without it published
    recipes collapse to background. none: all pixels weigh equally."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which then becomes the model; null:
    the last weights do."""


class Train(Section):
    """The trainings."""

    seed: NonNegativeInt = 0
    classifier: Classifier = Classifier()
    ritc: Ritc = Ritc()
    irn: Irn = Irn()
    segmenter: Segmenter = Segmenter()
