import numpy as np

from qaclims_ray.images.cams import cams_by_class, unpack_cams
from qaclims_ray.types import CamRow


def test_each_class_of_an_image_becomes_a_row_of_its_own():
    cams = np.arange(12, dtype=np.float16).reshape(3, 2, 2) / 12
    row = CamRow(
        name="a",
        height=4,
        width=4,
        classes=[7, 2, 9],
        cam=cams.tobytes(),
        cam_height=2,
        cam_width=2,
    )
    parts = cams_by_class(row)
    assert list(parts) == [7, 2, 9]
    for (label, part), cam in zip(parts.items(), cams, strict=True):
        assert part["classes"] == [label]
        assert np.array_equal(unpack_cams(part), cam[None].astype(np.float32))
    assert cams_by_class(CamRow({**row, "classes": [], "cam": b""})) == {}
