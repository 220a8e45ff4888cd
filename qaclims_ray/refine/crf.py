"""Dense conditional random field: labels snap to the edges of the image.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials" (NIPS 2011); settings of the published `misc/imutils.py:crf_inference_label`.
"""

from importlib import import_module
from typing import Any

import numpy as np

from qaclims_ray.types import Image, LabelMap


def dense_crf(
    image: Image, labels: LabelMap, num_labels: int, *, steps: int = 10, certainty: float = 0.7
) -> LabelMap:
    """The most probable labels after `steps` mean-field updates.

    `labels` holds 0 to num_labels - 1; each pixel has its label with the probability `certainty`
    before the field acts. Pixels attract each other by nearness (3 pixels, weight 3), and by
    nearness and likeness of colour (50 pixels, 5 grey levels, weight 10).

    Raises ImportError where pydensecrf2 is not installed.
    """
    if num_labels == 1:
        return labels
    densecrf, unary_from_labels = _pydensecrf()
    height, width = labels.shape
    field = densecrf.DenseCRF2D(width, height, num_labels)
    field.setUnaryEnergy(unary_from_labels(labels, num_labels, certainty, zero_unsure=False))
    field.addPairwiseGaussian(sxy=3, compat=3)
    colours = np.ascontiguousarray(image)
    field.addPairwiseBilateral(sxy=50, srgb=5, rgbim=colours, compat=10)
    probabilities = np.array(field.inference(steps)).reshape(num_labels, height, width)
    return probabilities.argmax(0).astype(np.uint8)


def _pydensecrf() -> tuple[Any, Any]:
    try:
        utils = import_module("pydensecrf.utils")
        return import_module("pydensecrf.densecrf"), utils.unary_from_labels
    except ImportError as error:
        raise ImportError(
            "the dense CRF needs pydensecrf2: install it by `pip install 'qaclims_ray[crf]'` "
            "(it compiles for a minute), or switch the CRF off in the config"
        ) from error
