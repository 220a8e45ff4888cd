import numpy as np
import pytest
import torch

from qaclims_ray.model.clip_cams import clip_cams, image_texts, resize_cams
from qaclims_ray.model.clip_predictor import ClipCamPredictor
from qaclims_ray.model.new_clip import new_clip
from qaclims_ray.model.texts import TextFeatures
from tests.build import png

CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 28, "layers": 3, "width": 32, "head_width": 16, "patch_size": 7},
    "text_cfg": {"context_length": 12, "width": 8, "heads": 1, "layers": 1, "vocab_size": 16},
}
SIZES = ((28, 28), (27, 22), (40, 30), (1, 33), (3, 2), (28, 28))
COUNTS = (1, 2, 0, 1, 2, 3)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return new_clip(CONFIG).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def texts():
    generator = torch.manual_seed(0)
    made = [torch.randn(count + 2, 16, generator=generator) for count in COUNTS]
    return [TextFeatures(*one.split([len(one) - 2, 2])) for one in made]


@pytest.mark.parametrize("affinity", [False, True])
@pytest.mark.parametrize("resolution", ["strided", "full"])
def test_maps_are_those_of_each_image_alone(clip, images, texts, affinity, resolution):
    predictor = ClipCamPredictor(
        clip, scales=(1.0, 1.5), flip=True, affinity=affinity, resolution=resolution, max_images=3
    )
    made = predictor.predict(images, texts)
    for maps, image, own in zip(made, images, texts, strict=True):
        height, width = image.shape[:2]
        if resolution == "strided":
            height, width = (height - 1) // 4 + 1, (width - 1) // 4 + 1
        assert maps.shape == (len(own.classes), height, width)
        assert maps.dtype == np.float32
        alone = clip_cams(
            clip, [image], image_texts(*([one] for one in own)), scales=(1.0, 1.5), flip=True
        )
        if len(maps):
            expected = resize_cams(alone.refined if affinity else alone.cams, height, width)
            torch.testing.assert_close(torch.from_numpy(maps), expected, rtol=0, atol=1e-4)


def test_rows_hold_the_maps(clip, images, texts):
    predictor = ClipCamPredictor(clip)
    rows = [
        {"name": str(i), "image": png(image), "height": image.shape[0], "width": image.shape[1]}
        | {"labels": list(range(count)) if count else None}
        for i, (image, count) in enumerate(zip(images, COUNTS, strict=True))
    ]
    made = predictor.predict_rows(rows, texts, 10_000)
    expected = predictor.predict(images, texts)
    for row, image, maps, count in zip(made, images, expected, COUNTS, strict=True):
        assert (row["height"], row["width"]) == image.shape[:2]
        assert row["classes"] == list(range(count))
        shape = (count, row["cam_height"], row["cam_width"])
        found = np.frombuffer(row["cam"], np.float16).reshape(shape)
        np.testing.assert_allclose(found, maps, atol=1e-3)


def test_another_tower_is_refused():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
    clip = new_clip({**CONFIG, "vision_cfg": vision}).eval()
    with pytest.raises(ValueError, match="not ModifiedResNet"):
        ClipCamPredictor(clip)
