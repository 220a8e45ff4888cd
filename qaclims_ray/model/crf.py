"""Dense conditional random field: labels and probabilities snap to the edges of the image.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials" (NIPS 2011). The settings are those of published code; they change more labels (4 to
20 %) than any implementation of the field does.
"""

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from qaclims_ray.types import Image, LabelMap

Probabilities = Float[np.ndarray, "K H W"]

_SCENE_MEANS = np.array(
    [
        [
            [0.7845, 0.4811, 0.7549, 0.8458],
            [0.5737, 0.0850, 0.4843, 0.5636],
            [0.8223, 0.5756, 0.4990, 0.0653],
            [0.8488, 0.5757, 0.0616, 0.0454],
        ],
        [
            [0.1254, 0.4237, 0.1563, 0.0668],
            [0.3273, 0.8229, 0.4102, 0.0687],
            [0.0935, 0.3314, 0.1221, 0.0459],
            [0.0638, 0.0660, 0.0447, 0.0421],
        ],
        [
            [0.0901, 0.0952, 0.0888, 0.0874],
            [0.0990, 0.0921, 0.1055, 0.3678],
            [0.0842, 0.0930, 0.3789, 0.8888],
            [0.0874, 0.3583, 0.8937, 0.9124],
        ],
    ]
)
"""What `check_crf_build` must find: each region's mean probability in blocks of 8 x 8 pixels."""
_TOLERANCE = 1e-3


class CrfSettings(NamedTuple):
    """How strongly pixels attract each other, and how far."""

    steps: int
    """Mean-field updates."""
    pos_w: float
    """Weight of the attraction by nearness."""
    pos_xy_std: float
    """Its standard deviation in pixels."""
    bi_w: float
    """Weight of the attraction by nearness and likeness of colour."""
    bi_xy_std: float
    """Its standard deviation in pixels."""
    bi_rgb_std: float
    """Its standard deviation in grey levels."""


CRF_SETTINGS = {
    "irn": CrfSettings(10, 3, 3, 10, 50, 5),
    "deeplab": CrfSettings(10, 3, 1, 4, 67, 3),
    "weclip": CrfSettings(10, 3, 3, 4, 64, 5),
    "afa": CrfSettings(10, 3, 3, 4, 64, 5),
    "toco": CrfSettings(10, 1, 1, 4, 121, 5),
    "toco_cam": CrfSettings(10, 3, 3, 4, 36, 3),
    "seam": CrfSettings(1, 3, 3, 10, 32, 13),
    "stage": CrfSettings(10, 3, 3, 10, 80, 13),
}
"""Published settings by the code that uses them.

`irn`: labels of CAMs in IRN, CLIMS and QA-CLIMS; `deeplab`: predictions of deeplab-pytorch, CLIMS
and CLIP-ES; `toco_cam`: CAMs in ToCo; `stage`: 1-stage-wseg; the others: predictions."""


def dense_crf(
    image: Image, labels: LabelMap, num_labels: int, *, steps: int = 10, certainty: float = 0.7
) -> LabelMap:
    """The most probable labels after `steps` mean-field updates with the settings `irn`.

    `labels` holds 0 to num_labels - 1; each pixel has its label with the probability `certainty`
    before the field acts (published `misc/imutils.py:crf_inference_label`).

    Raises ImportError where pydensecrf2 is not installed.
    """
    if num_labels == 1:
        return labels
    others = (1 - certainty) / (num_labels - 1)
    energies = np.full((num_labels, *labels.shape), -np.log(others), np.float32)
    np.put_along_axis(energies, labels[None].astype(np.int64), -np.log(certainty), axis=0)
    settings = CRF_SETTINGS["irn"]._replace(steps=steps)
    return _mean_field(image, energies, settings).argmax(0).astype(np.uint8)


def crf_probabilities(
    image: Image, probabilities: Probabilities, settings: CrfSettings
) -> Probabilities:
    """The probability of each label in the field, float32, from the network's.

    They need not sum to 1 (CLIP-ES hands in CAMs); below 1e-5 they count as 1e-5. deeplab-pytorch,
    CLIMS and CLIP-ES hand in the image as BGR with its mean subtracted, cast to uint8, where values
    below the mean wrap; the result differs in 0.4 % of labels.

    Raises ImportError where pydensecrf2 is not installed.
    """
    if len(probabilities) == 1:
        return np.ones(probabilities.shape, np.float32)
    energies = -np.log(np.clip(probabilities, 1e-5, 1)).astype(np.float32)
    return _mean_field(image, energies, settings)


def check_crf_build() -> None:
    """Raise ValueError where the installed pydensecrf computes other numbers than it should.

    Bad builds have changed published scores by 20 points without a word (CLIP-ES, issue 9). The
    field must find the three regions of a scene of 32 x 32 pixels, of which a sixth begins with a
    wrong label, with the probabilities that pydensecrf2 1.1 gives. An update too few or a weight
    off by 1 % is noticed.
    """
    image, probabilities, regions = _scene()
    refined = crf_probabilities(image, probabilities, CrfSettings(3, 1, 3, 2, 20, 10))
    num_wrong = int((refined.argmax(0) != regions).sum())
    error = float(np.abs(refined.reshape(3, 4, 8, 4, 8).mean((2, 4)) - _SCENE_MEANS).max())
    if num_wrong or not error <= _TOLERANCE:  # nan is an error too
        raise ValueError(
            f"the installed pydensecrf computes wrong numbers: on a test image {num_wrong} of "
            f"{regions.size} labels are wrong (legal: 0) and probabilities are off by {error:.2g} "
            f"(legal: {_TOLERANCE}); build it anew by `pip install --force-reinstall "
            "--no-cache-dir pydensecrf2`, if need be with another compiler, or refine by PAR"
        )


def _mean_field(
    image: Image, energies: Float[np.ndarray, "K H W"], settings: CrfSettings
) -> Probabilities:
    num_labels, height, width = energies.shape
    field = _pydensecrf().DenseCRF2D(width, height, num_labels)
    field.setUnaryEnergy(np.ascontiguousarray(energies.reshape(num_labels, -1)))
    field.addPairwiseGaussian(sxy=settings.pos_xy_std, compat=settings.pos_w)
    field.addPairwiseBilateral(
        sxy=settings.bi_xy_std,
        srgb=settings.bi_rgb_std,
        rgbim=np.ascontiguousarray(image),
        compat=settings.bi_w,
    )
    return np.array(field.inference(settings.steps)).reshape(num_labels, height, width)


def _pydensecrf() -> Any:
    try:
        return import_module("pydensecrf.densecrf")
    except ImportError as error:
        raise ImportError(
            "the dense CRF needs pydensecrf2: install it by `pip install 'qaclims_ray[crf]'` "
            "(it compiles for a minute), or switch the CRF off in the config"
        ) from error


def _scene() -> tuple[Image, Probabilities, LabelMap]:
    """The image of a disc and a corner before a background, noisy probabilities, and the regions.

    By whole numbers only, so that it is the same on every machine.
    """
    y, x = np.mgrid[:32, :32]
    regions = np.where((y - 11) ** 2 + (x - 12) ** 2 < 64, 1, np.where(x + y > 40, 2, 0))
    texture = (7 * y * y + 13 * x * x + 5 * x * y) % 16
    red, green = 60 + 70 * regions + texture, 200 - 60 * regions + texture[::-1]
    image = np.stack([red, green, 90 + 20 * regions + texture.T], axis=-1).astype(np.uint8)
    labels = np.arange(3)[:, None, None]
    noise = (3 * y * y + 11 * x * y + 7 * y + labels * (5 * x * x + 1)) % 9
    votes = 1 + 4 * (labels == regions) + noise
    return image, (votes / votes.sum(0)).astype(np.float32), regions.astype(np.uint8)
