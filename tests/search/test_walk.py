import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from qaclims_ray.metrics.confusion import mean_iou, sweep
from qaclims_ray.model.irn import build_irn
from qaclims_ray.refine.walk import walk_to_mask
from qaclims_ray.search.walk import (
    boundaries,
    check_cams,
    choose_background,
    colour_boundaries,
    walked,
)

THRESHOLDS = (0.1, 0.2, 0.5, 0.8)


def _row(rng, num_classes, height, width):
    cells = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    cam = rng.random((num_classes, *cells)).astype(np.float16)
    row = {"name": "a", "height": height, "width": width, "classes": [2, 0][:num_classes]}
    return {**row, "cam": cam.tobytes(), "cam_height": cells[0], "cam_width": cells[1]}, cam


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 2), st.integers(17, 30), st.integers(17, 30))
def test_one_walk_gives_the_masks_of_all_background_scores(seed, num_classes, height, width):
    rng = np.random.default_rng(seed)
    row, cam = _row(rng, num_classes, height, width)
    edge = torch.from_numpy(rng.random(cam.shape[1:]).astype(np.float32))
    truth = rng.integers(0, 4, (height, width)).astype(np.uint8)
    counts = sweep(walked(row, edge), row["classes"], truth, THRESHOLDS, 3)
    for threshold, found in zip(THRESHOLDS, counts, strict=True):
        mask = walk_to_mask(
            torch.from_numpy(cam.astype(np.float32)),
            edge,
            row["classes"],
            (height, width),
            background=threshold,
        )
        wanted = np.zeros((4, 4), np.int64)
        np.add.at(wanted, (truth, mask), 1)
        assert np.array_equal(found, wanted)


def test_boundaries_lie_where_colours_change_most():
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 24:] = 200
    image[16:, 24:] = 190
    edge = colour_boundaries(image, (8, 12))
    assert edge.shape == (8, 12)
    assert torch.allclose(edge[:4, 5], torch.tensor(1 - np.exp(-9.0)).float(), atol=1e-6)
    assert (edge[3, 6:] > 0).all()
    assert (edge[3, 6:] < 0.05).all()
    edge[:, 5], edge[3] = 0, 0
    assert (edge == 0).all()


def test_an_image_of_one_colour_has_no_boundaries():
    assert (colour_boundaries(np.full((16, 16, 3), 7, np.uint8), (4, 4)) == 0).all()


def test_a_boundary_network_is_read_from_its_file(tmp_path):
    torch.manual_seed(0)
    save_file(build_irn("small_resnet").state_dict(), tmp_path / "irn.safetensors")
    bounds = boundaries(str(tmp_path / "irn.safetensors"), "small_resnet")
    image = np.random.default_rng(0).integers(0, 255, (32, 40, 3)).astype(np.uint8)
    edge = bounds(image, (8, 10))
    assert edge.shape == (8, 10)
    assert ((edge > 0) & (edge < 1)).all()


def test_the_score_is_chosen_by_other_images_than_those_reported():
    rng = np.random.default_rng(0)
    choosing, held_out = (rng.integers(1, 9, (4, 3, 3)) for _ in range(2))
    found = choose_background(choosing, held_out, THRESHOLDS, None)
    best = int(mean_iou(choosing).argmax())
    assert found["choosing"]["background"] == found["held_out"]["background"] == THRESHOLDS[best]
    assert found["choosing"]["miou"] == pytest.approx(mean_iou(choosing)[best])
    assert found["held_out"]["miou"] == pytest.approx(mean_iou(held_out)[best])
    assert found["published"]["background"] == 0.2


def test_the_walk_wants_cams_of_four_pixels_a_cell(demo_run, make_experiment, tmp_path):
    check_cams(demo_run)
    with pytest.raises(ValueError, match=r"run jobs/make_cams\.py first"):
        check_cams(make_experiment(tmp_path))
