"""What networks see is reduced; CAMs, label maps and scores have the size of the file's image."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.ingest.sources import Source, load
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.predictor import CamPredictor
from qaclims_ray.refine.stage import Labeller
from qaclims_ray.run.artifact import artifact
from tests.build import encode, photo, put, write_artifact

SIZES = {"a": (80, 120), "b": (40, 30)}
"""The second image is smaller than `max_side`."""


@pytest.fixture
def rows(tmp_path):
    return [
        load(
            Source(
                name=name,
                image=str(put(tmp_path / f"{name}.png", encode(photo(*size)))),
                labels=[0, 2],
                mask=None,
                annotations=None,
            ),
            num_classes=8,
            max_side=60,
        )
        for name, size in SIZES.items()
    ]


def test_cams_are_made_of_the_reduced_image_and_label_maps_are_full_size(
    make_experiment, rows, tmp_path
):
    experiment = make_experiment(
        tmp_path / "run", {"data.max_side": 60, "refine.seeds.kind": "none"}
    )
    torch.manual_seed(0)
    net = build_cam_net("small_resnet", 8).eval()
    cams = CamPredictor(net, scales=(1.0,)).predict_rows(rows, 10**6)
    assert [(row["cam_height"], row["cam_width"]) for row in cams] == [(10, 15), (10, 8)]
    assert [(row["height"], row["width"]) for row in cams] == [*SIZES.values()]
    assert [full_size(row).shape[1:] for row in cams] == [*SIZES.values()]
    (reduced,) = CamPredictor(net, scales=(1.0,)).predict([decode(rows[0]["image"])], [[0, 2]])
    assert cams[0]["cam"] == reduced.astype(np.float16).tobytes()

    write_artifact(artifact(experiment, "images"), rows)
    labeller = Labeller(experiment, artifact(experiment, "seeds"))
    made = labeller(pa.Table.from_pylist(cams)).to_pylist()
    assert [row_label_map(row).shape for row in made] == [*SIZES.values()]
    # As large as the network's image, and then enlarged.
    label_map = row_label_map(made[0])
    assert len(np.unique(label_map)) > 1
    assert np.array_equal(np.kron(label_map[::2, ::2], np.ones((2, 2))), label_map)
