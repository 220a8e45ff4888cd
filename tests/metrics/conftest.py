import numpy as np
import pytest


@pytest.fixture
def truth():
    """A cat beside a dog, and one ignored pixel."""
    label_map = np.zeros((6, 8), np.uint8)
    label_map[1:3, 1:4] = 1
    label_map[3:5, 4:8] = 2
    label_map[0, 0] = 255
    return label_map
