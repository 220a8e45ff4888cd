from types import SimpleNamespace

import numpy as np
import pytest


def cam_row(name, classes, cams, size=None):
    cams = np.asarray(cams, np.float16)
    height, width = size or cams.shape[1:]
    return {
        "name": name,
        "height": height,
        "width": width,
        "classes": classes,
        "cam": cams.tobytes(),
        "cam_height": cams.shape[1],
        "cam_width": cams.shape[2],
    }


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(cam_row=cam_row)


@pytest.fixture
def truth():
    """A cat beside a dog, and one ignored pixel."""
    label_map = np.zeros((6, 8), np.uint8)
    label_map[1:3, 1:4] = 1
    label_map[3:5, 4:8] = 2
    label_map[0, 0] = 255
    return label_map
