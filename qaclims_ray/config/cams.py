"""The section `cams`: class activation maps."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from qaclims_ray.config.base import Fraction, Section


class CamClip(Section):
    """The frozen CLIP that makes CAMs (`kind: clip`); regions are judged by `model.clip`.

    As CLIP-ES (Lin et al., CVPR 2023) has it: GradCAM for the probability of each class among the
    image's class and background texts, then class-aware attention affinity.
    """

    model: str = "ViT-B-16"
    """open_clip model name with a plain vision transformer, or a directory in open_clip's local
    layout; `package:` as for `model.clip`. B/16 localises best: ViT-L-14, the best judge of
    regions, is far worse here (SCLIP's issue 9: 50.4 mIoU where B/16 has 81.5)."""
    pretrained: str | None = "openai"
    """open_clip tag, or a weights file; null for a directory. See `model.clip.pretrained`."""
    template: str = "a clean origami {}."
    """Prompt around each text. Published: this one."""
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)
    """Image scales; maps are averaged. Published: 1 alone."""
    flip: bool = False
    """Average over each image and its mirror image too. Published: no."""
    affinity: bool = True
    """Spread each CAM to the patches that attend to each other."""
    num_maps: PositiveInt = 8
    """affinity: last blocks whose attention is averaged, of ViT-B/16's 12."""
    box_threshold: Fraction = 0.4
    """affinity: share of a CAM's maximum above which its boxes lie, out of which it spreads.
    Published: 0.4 for VOC, 0.7 for COCO."""
    background_words: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The fixed list of background words; null: the 25 of CLIP-ES. Words that name a class are left
    out, which for COCO gives CLIP-ES's 23."""


class Cams(Section):
    """Class activation maps of every image."""

    kind: Literal["network", "clip"] = "network"
    """network: CAMs of the trained network. clip: CAMs of a frozen CLIP, without any training;
    `scales`, `activation` and `resize` are then of no effect, as `clip` has its own."""
    backgrounds: Literal["answers", "fixed", "both", "none"] = "answers"
    """clip: texts that the classes of an image compete with, beside each other. answers: what the
    VQA model said of the background of this very image. fixed: `clip.background_words`. An image
    left without any, and with `none` an image of one class, falls back to the fixed list, as a sole
    text has no CAM; how many did is counted."""
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0, 0.5, 1.5, 2.0)
    """Image scales; each also flipped; maps are summed."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """On the logits before fusion. Published: relu."""
    resize: Literal["uint8", "normalised"] = "uint8"
    """uint8: images are resized to the scales as pixels of 8 bits, by Pillow on the CPU, as
    published, which takes 45 ms a 375x500 image at four scales. normalised: as the network's input,
    on its device, neither rounded nor clamped, which a GPU does in no time. Measured on the demo's
    600 images: CAMs differ by up to 0.07, mIoU at the best threshold by -0.015 [-0.029, -0.006]
    points (uint8 less normalised, 95 % paired interval; baseline -0.021 [-0.029, -0.014])."""
    resolution: Literal["strided", "full"] = "strided"
    """strided: (side - 1) // 4 + 1 cells; full: one per pixel (16 times the size). Measured on the
    demo's 600 images, mIoU in points, full less strided, with 95 % paired intervals: at each one's
    best threshold +0.1 [0.0, 0.2] (baseline 0.0 [-0.1, 0.0]); at the fixed 0.15 -1.1 [-1.2, -1.0]
    (baseline +0.1 [0.1, 0.1]). Finer maps have a higher maximum to be divided by, so that the best
    threshold sinks (0.05 to 0.03): choose it anew."""
    clip: CamClip = CamClip()

    def fusion(self) -> dict[str, Any]:
        """The options of `model.predictor.CamPredictor`."""
        return {
            "scales": self.scales,
            "activation": self.activation,
            "resolution": self.resolution,
            "resize": self.resize,
        }
