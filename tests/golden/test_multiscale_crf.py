"""The dense CRF at the end of published segmenters, with their settings."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from qaclims_ray.model.crf import CRF_SETTINGS, crf_probabilities

pytest.importorskip("pydensecrf")


@pytest.fixture(scope="module")
def data(golden):
    return golden("multiscale_crf")


@pytest.fixture(scope="module")
def arrays(data):
    return data.arrays


def _upsampled(data, align_corners=False):
    logits = data["logits_lr"][None]
    return F.interpolate(logits, (40, 50), mode="bilinear", align_corners=align_corners)[0]


def test_settings_are_the_published_ones(data):
    words = ("iter_max", "pos_w", "pos_xy_std", "bi_w", "bi_xy_std", "bi_rgb_std")
    published = data.meta["config"]["parameters"]
    elsewhere = published.pop("published_elsewhere")
    published["toco_cam"] = elsewhere["ToCo infer_cam_crf_label.py"]
    label_unary = next(value for key, value in elsewhere.items() if key.startswith("IRN/"))
    published |= {"irn": label_unary, "afa": published["weclip"]}
    expected = {name: tuple(one[word] for word in words) for name, one in published.items()}
    assert expected == CRF_SETTINGS


def test_probabilities_that_enter_the_field(data):
    torch.testing.assert_close(_upsampled(data).softmax(0), data["prob"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["deeplab", "weclip", "toco", "seam", "stage"])
def test_probabilities_with_published_settings(data, arrays, name):
    """SEAM resizes logits with aligned corners; the arrays of stage are float16.

    Its probabilities are computed here, so that they differ by the CPU's last bit: the golden
    notes allow 1e-4 then. All others enter the field as they lie in the file, and come out exact.
    """
    image = arrays["deeplab_img_wrapped" if name == "deeplab" else "img_u8"]
    aligned = _upsampled(data, align_corners=True).softmax(0).numpy()
    probabilities = aligned if name == "seam" else arrays["prob"]
    refined = crf_probabilities(image, probabilities, CRF_SETTINGS[name])
    expected = arrays[f"{name}_Q"]
    tolerance = 1e-4 if name == "seam" else 0
    np.testing.assert_allclose(refined.astype(expected.dtype), expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(refined.argmax(0), arrays[f"{name}_label"])


def test_one_update(arrays):
    once = CRF_SETTINGS["weclip"]._replace(steps=1)
    refined = crf_probabilities(arrays["img_u8"], arrays["prob"], once)
    np.testing.assert_array_equal(refined, arrays["weclip_Q_t1"])


def test_an_image_that_does_not_wrap(arrays):
    """The labels that deeplab-pytorch would give, had it not cast negative numbers to uint8."""
    image = arrays["img_u8"][..., ::-1]
    refined = crf_probabilities(image, arrays["prob"], CRF_SETTINGS["deeplab"])
    np.testing.assert_array_equal(refined.argmax(0), arrays["deeplab_cleanimg_label"])


def test_two_labels_partly_below_the_clip(data, arrays):
    logits = 8 * _upsampled(data)[:2]
    logits[0, 3::7, 3::7] += 25
    logits[1, 6::7, 6::7] += 25
    probabilities = logits.softmax(0).numpy()
    assert (probabilities < 1e-5).mean() == pytest.approx(0.276)
    refined = crf_probabilities(
        arrays["img_u8"], probabilities, CRF_SETTINGS["stage"]._replace(steps=2)
    )
    np.testing.assert_array_equal(refined[0], arrays["two_Q0"])


def test_cams_instead_of_probabilities(data, arrays):
    """CLIP-ES: float16 scores that do not sum to 1; what is below 0.95 is ignored."""
    cams, config = arrays["clipes_cams"], data.meta["config"]
    scores = np.concatenate([1 - cams.max(0, keepdims=True), cams])
    refined = crf_probabilities(arrays["deeplab_img_wrapped"], scores, CRF_SETTINGS["deeplab"])
    np.testing.assert_array_equal(refined, arrays["clipes_Q"])
    labels = np.array(config["clipes_keys"])[refined.argmax(0)]
    labels[refined.max(0) < config["clipes_confidence"]] = 255
    np.testing.assert_array_equal(labels, arrays["clipes_label"])
