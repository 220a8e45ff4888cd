import sys
from importlib import import_module

import numpy as np
import pytest

from qaclims_ray.model.crf import CRF_SETTINGS, check_crf_build, crf_probabilities, dense_crf


def _two_halves():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = 200
    return image


def _probabilities(num_labels, height, width, seed=0):
    votes = np.random.default_rng(seed).random((num_labels, height, width), np.float32)
    return votes / votes.sum(0)


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
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(ImportError, match=r"pip install 'qaclims_ray\[crf\]'"):
        dense_crf(_two_halves(), np.zeros((20, 20), np.uint8), 2)


def test_labels_are_probabilities_of_their_certainty():
    pytest.importorskip("pydensecrf")
    image = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 3, (12, 17), np.uint8)
    certain = np.where(np.arange(3)[:, None, None] == labels, 0.7, 0.15)
    expected = crf_probabilities(image, certain, CRF_SETTINGS["irn"]).argmax(0)
    np.testing.assert_array_equal(dense_crf(image, labels, 3), expected)


@pytest.mark.parametrize("name", CRF_SETTINGS)
def test_probabilities_snap_to_colours(name):
    pytest.importorskip("pydensecrf")
    right = np.tile(np.arange(20) >= 10, (20, 1)).astype(np.float32)
    noise = 0.4 * np.random.default_rng(0).random((20, 20), np.float32) - 0.2
    foreground = 0.5 + 0.15 * (2 * right - 1) + noise
    assert ((foreground > 0.5) != right).any()
    refined = crf_probabilities(
        _two_halves(), np.stack([1 - foreground, foreground]), CRF_SETTINGS[name]
    )
    np.testing.assert_array_equal(refined.argmax(0), right)
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert refined.dtype == np.float32


def test_a_single_probability_is_1():
    refined = crf_probabilities(
        _two_halves(), np.full((1, 20, 20), 0.3, np.float32), CRF_SETTINGS["weclip"]
    )
    assert (refined == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_images_of_one_row_or_column(size):
    pytest.importorskip("pydensecrf")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    refined = crf_probabilities(image, _probabilities(3, *size), CRF_SETTINGS["deeplab"])
    assert np.isfinite(refined).all()
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)


def test_inputs_stay_and_may_be_views():
    pytest.importorskip("pydensecrf")
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    probabilities = _probabilities(3, 9, 14)
    before = image.copy(), probabilities.copy()
    plain = crf_probabilities(image, probabilities, CRF_SETTINGS["toco"])
    views = np.asfortranarray(image), np.asfortranarray(probabilities)
    np.testing.assert_array_equal(crf_probabilities(*views, CRF_SETTINGS["toco"]), plain)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(probabilities, before[1])


def test_a_good_build_passes():
    pytest.importorskip("pydensecrf")
    check_crf_build()


class BadField:
    """A real field of which a method does something else."""

    def __init__(self, field, method, instead):
        self.field, self.bad = field, {method: lambda *args, **kwargs: instead(field, *args)}

    def __getattr__(self, name):
        return self.bad.get(name) or getattr(self.field, name)


@pytest.mark.parametrize(
    ("method", "instead"),
    [
        ("addPairwiseBilateral", lambda field: None),
        ("inference", lambda field, steps: field.inference(steps - 1)),
        ("inference", lambda field, steps: np.array(field.inference(steps)) * np.nan),
    ],
    ids=["colours_are_lost", "an_update_is_missing", "not_a_number"],
)
def test_a_bad_build_is_named(monkeypatch, method, instead):
    pytest.importorskip("pydensecrf")
    densecrf = import_module("pydensecrf.densecrf")
    field = densecrf.DenseCRF2D
    monkeypatch.setattr(
        densecrf, "DenseCRF2D", lambda *size: BadField(field(*size), method, instead)
    )
    with pytest.raises(ValueError, match="pydensecrf computes wrong numbers"):
        check_crf_build()
