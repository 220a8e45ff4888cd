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
