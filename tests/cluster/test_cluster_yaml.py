"""cluster.yaml is what Ray's launcher takes, and large enough for the configurations."""

import re
from copy import deepcopy
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

from qaclims_ray.config.compute import Pool
from qaclims_ray.config.experiment import load

ROOT = Path(__file__).parents[2]
PATH = ROOT / "cluster.yaml"
EXPERIMENTS = ["voc12", "voc12_ovseg", "coco14", "coco14_ovseg", "folder"]
CONTENT = {
    "m7i.2xlarge": {"CPU": 8},
    "m7i.4xlarge": {"CPU": 16},
    "g6.4xlarge": {"CPU": 16, "GPU": 1},
}
"""vCPUs and GPUs of EC2's instances, as published by AWS."""


@pytest.fixture
def cluster():
    return yaml.safe_load(PATH.read_text())


@pytest.fixture
def nodes(cluster):
    """The types of worker nodes."""
    types = cluster["available_node_types"]
    return {name: node for name, node in types.items() if name != cluster["head_node_type"]}


def _check(cluster):
    validate_config(prepare_config(deepcopy(cluster)))


def test_rays_launcher_accepts_it(cluster):
    _check(cluster)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("idle_timeout", 5),
        ("head_node_type", "nobody"),
        ("docker.images", "x"),
        ("available_node_types.gpu-spot.spot", True),
        ("available_node_types.gpu-spot.resources", {"GPU": 0.5}),
        ("available_node_types.gpu-spot.resources", None),
        ("available_node_types.cpu.min_workers", 9),
        ("setup_commands", [["pip", "install"]]),
    ],
)
def test_rays_launcher_refuses_mistakes(cluster, path, value):
    *folders, name = path.split(".")
    section = cluster
    for folder in folders:
        section = section[folder]
    section[name] = value
    with pytest.raises((ValidationError, ValueError)):
        _check(cluster)


def test_the_head_does_no_work_and_stays(cluster):
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]


def test_nodes_start_from_zero_and_only_those_with_gpus_are_spot(nodes):
    for node in nodes.values():
        assert node["min_workers"] == 0
        market = node["node_config"].get("InstanceMarketOptions", {}).get("MarketType")
        assert market == ("spot" if "GPU" in node["resources"] else None)


def test_nodes_act_by_roles_and_have_room_to_spill(cluster):
    for node in cluster["available_node_types"].values():
        assert node["node_config"]["IamInstanceProfile"]["Name"]
        (disk,) = node["node_config"]["BlockDeviceMappings"]
        assert disk["Ebs"]["VolumeSize"] >= 200
        assert disk["Ebs"]["DeleteOnTermination"]


def test_resources_are_those_of_the_instances(nodes):
    for node in nodes.values():
        assert node["resources"] == CONTENT[node["node_config"]["InstanceType"]]


def test_every_choice_says_why():
    """Each paragraph, and in those with several choices each one."""
    text = PATH.read_text()
    for paragraph in text.split("\n\n"):
        assert re.search(r"^ *# \S", paragraph, re.MULTILINE), paragraph
    choices = re.findall(
        r"^.*\n +(?:InstanceType|region|worker_image|IamInstanceProfile): ", text, re.M
    )
    assert len(choices) > 6


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_a_configuration_asks_for_can_be_had(name, nodes):
    compute = load(ROOT / "configs" / f"{name}.yaml", {"data.root": "s3://bucket/x"}).compute
    pools = {key: pool for key, pool in compute if isinstance(pool, Pool)}
    assert "corpus" in pools
    wanted = [(pool.num_actors, pool.num_cpus, pool.num_gpus) for pool in pools.values()]
    train = compute.train
    wanted.append((train.num_workers, train.num_cpus + train.num_loader_workers, train.use_gpu))
    for number, cpus, gpus in wanted:
        room = sum(node["max_workers"] * _fitting(node, cpus, gpus) for node in nodes.values())
        assert room >= number


def _fitting(node, cpus, gpus):
    """How many actors of so many CPUs and GPUs fit on a node."""
    has = node["resources"]
    fits = [has["CPU"] // cpus] if cpus else []
    return int(min([*fits, *([has.get("GPU", 0) // gpus] if gpus else [])]))


def test_the_bill_is_bounded(cluster, nodes):
    assert cluster["max_workers"] == sum(node["max_workers"] for node in nodes.values())


def _pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_images_may_be_named_by_their_digests_too(cluster):
    text = " ".join(PATH.read_text().replace("\n  # ", " ").split())
    assert f"imagetools inspect {cluster['docker']['head_image']}` shows" in text
    for docker in [cluster["docker"], *(n.get("docker", {}) for n in _types(cluster))]:
        images = {key: image for key, image in docker.items() if key.endswith("image")}
        docker |= {key: f"{image}@sha256:{'0' * 64}" for key, image in images.items()}
    _check(cluster)


def test_all_nodes_have_the_ray_of_the_constraints(cluster):
    docker = [cluster["docker"], *(n.get("docker", {}) for n in _types(cluster))]
    images = {image for one in docker for key, image in one.items() if key.endswith("image")}
    assert {image.split(":")[1].split("-")[0] for image in images} == {_pins()["ray"]}
    assert f"ray[default]=={_pins()['ray']}" in PATH.read_text()


def _types(cluster):
    return cluster["available_node_types"].values()


def test_every_dependency_is_pinned_within_its_bounds():
    pins = _pins()
    for requirement in map(Requirement, requires("qaclims_ray")):
        if requirement.marker is None:  # of no extra
            assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_only_the_checkout_is_copied_to_the_nodes(cluster):
    assert set(cluster["file_mounts"].values()) == {".", "~/.ray/auth_token"}
    assert {"/data", "/runs", "/weights", "/.git"} <= set(cluster["rsync_exclude"])


def test_nodes_have_what_a_search_needs(cluster):
    (command,) = cluster["setup_commands"]
    assert command.endswith(' "/home/ray/qaclims_ray[tune]"')
    assert load("tune_voc12").tune.searcher == "optuna"


def test_nodes_are_bounded(cluster):
    """A group of one's own, as Ray's lets SSH in from anywhere; IMDSv2; encrypted disks."""
    for name, node in cluster["available_node_types"].items():
        config = node["node_config"]
        assert config["SecurityGroupIds"] == ["sg-00000000000000000"], name
        assert config["MetadataOptions"]["HttpTokens"] == "required", name
        assert config["MetadataOptions"]["HttpPutResponseHopLimit"] == 1, name
        disks = [disk["Ebs"] for disk in config["BlockDeviceMappings"]]
        assert all(disk["Encrypted"] is True for disk in disks), name
    assert "--cidr $(curl -s https://checkip.amazonaws.com)/32" in PATH.read_text()
    assert "0.0.0.0/0" not in PATH.read_text()


def test_what_is_installed_has_a_version(cluster):
    packages = re.findall(r"boto3\S*", PATH.read_text())
    assert {one.strip('".') for one in packages} == {"boto3==1.43.117"}
    images = [cluster["docker"]["head_image"], cluster["docker"]["worker_image"]]
    assert all(re.fullmatch(r"rayproject/ray:\d+\.\d+\.\d+-py\d+-\w+", one) for one in images)
