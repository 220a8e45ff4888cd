import json
import os
import subprocess
import sys

import pytest
import ray
import ray.data

from qaclims_ray.cluster import maps
from qaclims_ray.cluster.maps import actor_pool
from qaclims_ray.cluster.session import on_each_node, start
from qaclims_ray.cluster.training import scaling, trial_resources
from qaclims_ray.config.compute import Compute, Pool, Workers


def test_ray_data_shows_a_stages_own_errors_and_no_bars_of_its_own(local_ray):
    context = ray.data.DataContext.get_current()
    assert context.raise_original_map_exception
    assert not context.enable_progress_bars


def test_a_ray_that_runs_already_is_used(local_ray):
    before = ray.get_runtime_context().gcs_address
    start(Compute(num_cpus=1))
    assert ray.get_runtime_context().gcs_address == before
    assert ray.cluster_resources()["CPU"] == 4


def test_a_pool_becomes_arguments_of_a_map(local_ray):
    arguments = actor_pool(Compute(cams=Pool(num_actors=2, num_cpus=0.5, batch_size=7)), "cams")
    assert (arguments["num_cpus"], arguments["batch_size"]) == (0.5, 7)
    assert (arguments["compute"].min_size, arguments["compute"].max_size) == (2, 2)


def test_a_pool_grows_only_where_it_may(local_ray):
    pool = actor_pool(Compute(corpus=Pool(num_actors=1, max_actors=3)), "corpus")["compute"]
    assert (pool.min_size, pool.max_size) == (1, 3)
    with pytest.raises(ValueError, match="max_actors: 1 is less than num_actors: 2"):
        Pool(num_actors=2, max_actors=1)


@pytest.mark.parametrize(("num_gpus", "num_threads"), [(0.5, 2), (0, None)])
def test_an_actor_with_a_gpu_may_have_two_batches_at_a_time(
    local_ray, monkeypatch, num_gpus, num_threads
):
    monkeypatch.setattr(maps, "require_pool", lambda *_: None)
    compute = Compute(corpus=Pool(num_gpus=num_gpus))
    pool = maps.actor_pool(compute, "corpus", overlaps=True)["compute"]
    assert pool.max_concurrent_calls_per_actor == num_threads
    assert pool.enable_true_multi_threading == (num_threads == 2)
    alone = maps.actor_pool(compute, "corpus")["compute"]
    assert alone.max_concurrent_calls_per_actor is None


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (Pool(num_actors=9), r"CPUs are needed.*has 4: lower compute\.cams\.num_actors"),
        (Pool(num_gpus=0.5), r"GPUs are needed.*has 0: lower compute\.cams.*num_gpus"),
    ],
)
def test_a_pool_that_never_fits_is_an_error_at_once(local_ray, pool, message):
    with pytest.raises(ValueError, match=message):
        actor_pool(Compute(cams=pool), "cams")


def test_workers_that_never_fit_are_an_error_at_once(local_ray):
    assert scaling(Compute(train=Workers(num_workers=2))).num_workers == 2
    with pytest.raises(ValueError, match=r"lower compute\.train\.num_workers"):
        scaling(Compute(train=Workers(num_workers=9)))
    with pytest.raises(ValueError, match=r"1 GPUs are needed"):
        scaling(Compute(train=Workers(num_workers=1, use_gpu=True)))


def test_a_trial_takes_what_its_process_takes_and_its_workers(local_ray):
    alone = {"train": {"num_workers": 0}, "tune": {"max_concurrent": 3, "num_cpus": 0.5}}
    each = {"CPU": 0.5, "GPU": 0.0}
    assert trial_resources(Compute.model_validate(alone)) == (each, each, 3)
    workers = {"train": {"num_workers": 2, "num_cpus": 1.5}, "tune": {"max_concurrent": 1}}
    own, worker, number = trial_resources(Compute.model_validate(workers))
    assert (own["CPU"], worker, number) == (0.01, {"CPU": 1.5, "GPU": 0.0}, 2)


def test_a_node_that_is_lost_while_it_is_asked_has_no_answer(local_ray, monkeypatch):
    (here,) = ray.nodes()
    lost = {**here, "NodeID": "a" * len(here["NodeID"])}
    monkeypatch.setattr(ray, "nodes", lambda: [lost, here])
    (node,) = on_each_node(json.loads, "7").items()
    assert node == (f"{here['NodeManagerAddress']} ({here['NodeID'][:6]})", 7)


def test_what_fails_on_a_node_is_raised(local_ray):
    with pytest.raises(ValueError, match="Expecting value"):
        on_each_node(json.loads, "x")


_JOIN = """
import os, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print(ray.get(ray.remote(os.getenv).remote("MARKED_SECRET", "joined")))
"""


@pytest.mark.parametrize("token", ["guess" * 10, pytest.param(None, marks=pytest.mark.slow)])
def test_a_neighbour_without_the_token_does_not_get_in(local_ray, tmp_path, token):
    """Of the machine or the network: the ports of Ray's processes are open to both."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    own |= {"HOME": str(tmp_path), "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    if token is not None:
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    address = ray.get_runtime_context().gcs_address
    joined = subprocess.run(
        [sys.executable, "-c", _JOIN, address], env=own, capture_output=True, text=True
    )
    assert joined.returncode
    assert "joined" not in joined.stdout
    assert "uthentication" in joined.stderr or "token" in joined.stderr
