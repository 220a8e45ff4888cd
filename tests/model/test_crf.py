import sys

import numpy as np
import pytest

from qaclims_ray.model.crf import dense_crf


def _two_halves():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = 200
    return image


def test_labels_snap_to_colours():
    pytest.importorskip("pydensecrf")
    labels = np.zeros((20, 20), np.uint8)
    labels[:, 8:] = 1
    refined = dense_crf(_two_halves(), labels, 2)
    assert (refined[:, :10] == 0).all()
    assert (refined[:, 10:] == 1).all()


def test_a_single_label_stays():
    labels = np.zeros((20, 20), np.uint8)
    assert dense_crf(_two_halves(), labels, 1) is labels


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.utils", None)
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(ImportError, match=r"pip install 'qaclims_ray\[crf\]'"):
        dense_crf(_two_halves(), np.zeros((20, 20), np.uint8), 2)
