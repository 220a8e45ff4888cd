"""Colours of label maps."""

import numpy as np
from jaxtyping import UInt8


def voc_palette() -> UInt8[np.ndarray, "256 3"]:
    """Return the RGB colour of each label-map value, as in the PASCAL VOC development kit.

    The three low bits of the value give the highest bit of red, green, blue; the next three the
    second highest, and so on. 0 is black, 255 cream.
    """
    values = np.arange(256)[:, None] >> np.arange(3)
    bits = [((values >> (3 * i)) & 1) << (7 - i) for i in range(3)]
    return np.sum(bits, axis=0).astype(np.uint8)
