import time

import pytest

from qaclims_ray.owner import OWNER
from qaclims_ray.search.holdout import write_names
from qaclims_ray.search.results import search_artifact
from qaclims_ray.search.tuner.stage import run_trials
from qaclims_ray.storage import write_json

EACH = {"CPU": 1.0, "GPU": 0.0}


@pytest.fixture
def search(demo_run, tmp_path):
    """A search of one trial."""
    own = {
        "run": str(tmp_path),
        "base": [demo_run.run],
        "tune.space": {"train.ritc.loss.area": {"uniform": [0.1, 0.2]}},
        "tune.num_trials": 1,
        "compute.tune.max_failures": 0,
    }
    return demo_run.with_overrides(own)


def test_a_trial_whose_node_was_lost_goes_on_at_once(search):
    target = search_artifact(search)
    left = {"host": "elsewhere", "pid": 1, "alive": time.time(), "job": target.uri}
    write_json(f"{target.uri}/trials/trial_00000/cam_net/{OWNER}", left)
    write_names(search, target.uri)
    (row,) = run_trials(search, target, EACH)
    assert (row["status"], row["error"]) == ("complete", None)
