"""Read the published `cls_labels.npy`, a pickled dictionary of image names to labels."""

from typing import Any

import numpy as np

from qaclims_ray.storage.pickles import read_dictionary


def read_cls_labels(path: str, num_classes: int) -> dict[str, list[int]]:
    """Read the class indices of each image name.

    Names that the file keeps as numbers (irn: 2007000032) become `2007_000032`.

    Args:
        path: path or URL of a NumPy file that holds one dict: name to `num_classes` floats.
        num_classes: expected length of each array.

    Raises:
        ValueError: there is no such file, or it holds something else, such as probabilities.
    """
    table = read_dictionary(path)
    try:
        labels = {_name(key): array.astype(float) for key, array in table.items()}
        lengths = {len(array) for array in table.values()}
    except Exception as error:  # the file may hold anything
        raise ValueError(f"{path}: not a dict of names to arrays of labels: {error}") from error
    if lengths - {num_classes}:
        raise ValueError(f"{path}: arrays of {sorted(lengths)} labels, expected {num_classes}")
    for name, values in labels.items():
        wrong = values[(values != 0) & (values != 1)]
        if wrong.size:
            raise ValueError(
                f"{path}: {name} has the value {wrong[0]:g}; legal are 1 (shown) and 0 (not shown)"
            )
    return {name: np.flatnonzero(values).tolist() for name, values in labels.items()}


def _name(key: Any) -> str:
    digits = str(key)
    return digits if isinstance(key, str) else f"{digits[:4]}_{digits[4:]}"
