import json

from qaclims_ray.report.training import training_of
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.storage.files import write_bytes


def test_each_scalar_is_drawn_under_its_name_and_others_under_that_of_the_log(tmp_path):
    network = Artifact("cam_net", str(tmp_path), {})
    rows = [
        {"epoch": 0, "step": step, "displacement_loss": 2.0, "total": 4.0 - step}
        | {"images_per_second": 3.0 + step, "data_wait": 0.5, "learning_rate": 0.1}
        for step in range(3)
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    write_bytes(f"{tmp_path}/metrics/epoch-000.jsonl", lines.encode())
    training = training_of(network)
    assert training.title == "QA-CLIMS"
    assert training.speed == 4.0
    assert [chart[0] for chart in training.charts] == ["Loss", "Displacement loss"]
    assert all("3 steps" in drawing for *_, drawing in training.charts)


def test_an_imported_network_has_no_log(tmp_path):
    assert training_of(Artifact("cam_net", str(tmp_path), {})) is None
