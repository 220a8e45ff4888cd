import pytest
import yaml

from qaclims_ray.cluster.capacity import Keys, NoRoom, capacity_of

KEYS = Keys("compute.x.num_actors", "compute.x")


def node(cpus, gpus=0, alive=True):
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus, "memory": 1e9}}


@pytest.fixture
def nowhere(tmp_path):
    return tmp_path / "none.yaml"


def test_places_count_whole_nodes_not_sums(nowhere):
    there = capacity_of([node(4), node(4), node(6, 1)], bootstrap=nowhere)
    assert there.total("CPU") == 14
    assert there.places({"CPU": 3.0}) == 4
    assert there.places({"CPU": 5.0}) == 1
    assert there.places({"CPU": 1.0, "GPU": 1.0}) == 1
    assert there.places({"CPU": 0.0, "GPU": 0.25}) == 4


@pytest.mark.parametrize(("gpu", "places"), [(0.1, 20), (0.5, 4), (0.6, 2), (1.0, 2), (2.0, 1)])
def test_a_share_of_a_gpu_lies_on_one_gpu(gpu, places, nowhere):
    assert capacity_of([node(64, 2)], bootstrap=nowhere).places({"CPU": 1.0, "GPU": gpu}) == places


def test_what_never_fits_is_an_error_with_the_keys_to_lower(nowhere):
    there = capacity_of([node(4), node(4, 1)], bootstrap=nowhere)
    there.require(2, {"CPU": 3.0}, KEYS, spare_cpus=2.0)
    with pytest.raises(ValueError, match=r"9 CPUs are needed, .* has 8: lower compute\.x"):
        there.require(2, {"CPU": 3.5}, KEYS, spare_cpus=2.0)
    with pytest.raises(ValueError, match=r"2 GPUs are needed, .* has 1"):
        there.require(2, {"CPU": 1.0, "GPU": 1.0}, KEYS)
    with pytest.raises(ValueError, match=r"1 times 5 CPUs are needed, .* room for 0 \(nodes of 1"):
        there.require(1, {"CPU": 5.0}, KEYS)


def test_dead_nodes_have_no_room(nowhere):
    assert capacity_of([node(4), node(8, alive=False)], bootstrap=nowhere).total("CPU") == 4


def test_a_head_without_cpus_may_have_an_autoscaler_of_unknown_limits(nowhere):
    there = capacity_of([node(0), node(4)], bootstrap=nowhere)
    assert (there.is_known, there.grows) == (False, True)
    there.require(100, {"CPU": 9.0, "GPU": 9.0}, KEYS)


def test_the_launchers_configuration_tells_the_limits(tmp_path):
    path = tmp_path / "bootstrap.yaml"
    kinds = {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 16}, "max_workers": 2},
        "gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 3},
    }
    launcher = {"head_node_type": "head", "max_workers": 5, "available_node_types": kinds}
    path.write_text(yaml.safe_dump(launcher))
    there = capacity_of([node(0)], bootstrap=path)
    assert (there.total("CPU"), there.total("GPU")) == (56, 3)
    assert there.describe() == "2 x 16 CPUs, 3 x 8 CPUs and 1 GPUs"
    with pytest.raises(ValueError, match="4 GPUs are needed, the Ray cluster has 3"):
        there.require(4, {"CPU": 1.0, "GPU": 1.0}, KEYS)
    # A head that works counts too, where the configuration says that the cluster grows.
    head = node(4)
    head["Resources"]["node:__internal_head__"] = 1.0
    assert capacity_of([head], True, path).total("CPU") == 60
    # A cluster that does not grow is what it is, whatever lies in the home folder.
    assert capacity_of([node(4)], bootstrap=path).total("GPU") == 0


def test_nothing_wanted_fits_anywhere(nowhere):
    capacity_of([node(1)], bootstrap=nowhere).require(3, {"CPU": 0.0}, KEYS)


def test_the_configuration_may_say_whether_a_cluster_grows(nowhere):
    grown = capacity_of([node(4)], True, nowhere)
    assert (grown.is_known, grown.grows) == (False, True)
    fixed = capacity_of([node(0), node(4)], False, nowhere)
    with pytest.raises(ValueError, match=r"9 CPUs are needed.*compute\.autoscales=true"):
        fixed.require(1, {"CPU": 9.0}, KEYS)


@pytest.mark.parametrize(
    ("nodes", "number", "each", "spare", "overrides"),
    [
        # Of four ingest actors and two CPUs to read with, a laptop has room for two.
        ([node(4)], 4, {"CPU": 1.0, "GPU": 0.0}, 2.0, ["compute.x.num_actors=2"]),
        ([node(4)], 1, {"CPU": 1.0, "GPU": 0.5}, 2.0, ["compute.x.num_gpus=0"]),
        ([node(4, 1)], 1, {"CPU": 1.0, "GPU": 2.0}, 2.0, ["compute.x.num_gpus=1"]),
        (
            [node(4)], 4, {"CPU": 2.0, "GPU": 1.0}, 2.0,
            ["compute.x.num_gpus=0", "compute.x.num_actors=1"],
        ),
        ([node(3)], 1, {"CPU": 2.0, "GPU": 0.0}, 2.0, ["compute.x.num_cpus=1"]),
        ([node(2)], 1, {"CPU": 1.0, "GPU": 0.0}, 2.0, []),
        ([node(8, 2)], 8, {"CPU": 1.0, "GPU": 0.5}, 2.0, ["compute.x.num_actors=4"]),
    ],
)  # fmt: skip
def test_an_error_shows_the_overrides_that_fit(nodes, number, each, spare, overrides, nowhere):
    there = capacity_of(nodes, bootstrap=nowhere)
    with pytest.raises(NoRoom) as caught:
        there.require(number, each, KEYS, spare)
    assert caught.value.overrides == tuple(overrides)
    fits = f". It fits with {' '.join(overrides)}" if overrides else ")"
    assert str(caught.value).endswith(fits)
    if overrides:
        given = {key: float(value) for key, value in (one.split("=") for one in overrides)}
        cpu = given.get("compute.x.num_cpus", each["CPU"])
        gpu = given.get("compute.x.num_gpus", each["GPU"])
        few = int(given.get("compute.x.num_actors", number))
        there.require(few, {"CPU": cpu, "GPU": gpu}, KEYS, spare)


def test_workers_without_a_gpu_and_trials_of_several_are_named(nowhere):
    there = capacity_of([node(4)], bootstrap=nowhere)
    workers = Keys("compute.train.num_workers", "compute.train", "use_gpu=false")
    found = there.fit(2, {"CPU": 2.0, "GPU": 1.0}, workers)
    assert found == ["compute.train.use_gpu=false"]
    trials = Keys("compute.tune.max_concurrent", "compute.train", "use_gpu=false", share=2)
    assert there.fit(8, {"CPU": 1.0}, trials) == ["compute.tune.max_concurrent=2"]
    assert there.fit(6, {"CPU": 3.0}, trials) == []
