"""configs/kuberay has the fields of KubeRay's objects, and what cluster.yaml has."""

import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "kuberay"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def _object(required="", **properties):
    """A mapping with these keys, and no others."""
    keys = {name.replace("__", "-"): schema for name, schema in properties.items()}
    return {
        "type": "object",
        "properties": keys,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items, fewest=1):
    return {"type": "array", "items": items, "minItems": fewest}


TEXT, FLAG = {"type": "string", "minLength": 1}, {"type": "boolean"}
WHOLE = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {"type": "string", "pattern": r"^[1-9]\d*(Gi|Mi)?$"}
AMOUNTS = {"type": "object", "required": ["cpu", "memory"], "additionalProperties": QUANTITY}
OWN_RIGHTS = _object(
    "allowPrivilegeEscalation capabilities",
    allowPrivilegeEscalation={"const": False},
    capabilities=_object("drop", drop={"const": ["ALL"]}),
)
CONTAINER = _object(
    "name image resources volumeMounts securityContext",
    securityContext=OWN_RIGHTS,
    name={"enum": ["ray-head", "ray-worker"]},
    image={"type": "string", "pattern": r"^[a-z0-9./_-]+:[\w.-]+(@sha256:[0-9a-f]{64})?$"},
    resources=_object("requests limits", requests=AMOUNTS, limits=AMOUNTS),
    env=_list(_object("name value", name=TEXT, value={"type": "string"})),
    volumeMounts=_list(_object("name mountPath", name=TEXT, mountPath=TEXT)),
)
EMPTY = _object("sizeLimit", medium={"const": "Memory"}, sizeLimit=QUANTITY)
TOLERATION = _object(
    "key operator effect",
    key=TEXT,
    operator={"enum": ["Exists", "Equal"]},
    effect={"enum": ["NoSchedule", "NoExecute", "PreferNoSchedule"]},
)
POD = _object(
    "containers volumes serviceAccountName restartPolicy securityContext",
    serviceAccountName=TEXT,
    automountServiceAccountToken={"const": False},
    securityContext=_object(
        "runAsNonRoot runAsUser runAsGroup fsGroup seccompProfile",
        runAsNonRoot={"const": True},
        runAsUser={"type": "integer", "minimum": 1},
        runAsGroup=WHOLE,
        fsGroup=WHOLE,
        seccompProfile=_object("type", type={"const": "RuntimeDefault"}),
    ),
    restartPolicy={"const": "Never"},
    terminationGracePeriodSeconds=WHOLE,
    nodeSelector=TEXTS,
    tolerations=_list(TOLERATION),
    containers={**_list(CONTAINER), "maxItems": 1},
    volumes=_list(_object("name emptyDir", name=TEXT, emptyDir=EMPTY)),
)
TEMPLATE = _object("spec", spec=POD)
CLUSTER = _object(
    "rayVersion headGroupSpec workerGroupSpecs",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object("mode", mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=_object(
        version={"enum": ["v1", "v2"]},
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=WHOLE,
        securityContext=OWN_RIGHTS,
    ),
    headGroupSpec=_object("rayStartParams template", rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs=_list(
        _object(
            "groupName replicas minReplicas maxReplicas rayStartParams template",
            groupName=TEXT,
            replicas=WHOLE,
            minReplicas=WHOLE,
            maxReplicas=WHOLE,
            rayStartParams=TEXTS,
            template=TEMPLATE,
        )
    ),
)
JOB = _object(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
    backoffLimit=WHOLE,
    activeDeadlineSeconds=WHOLE,
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=WHOLE,
    rayClusterSpec=CLUSTER,
)
PEER = _object(
    podSelector=_object(matchLabels=TEXTS),
    namespaceSelector=_object(matchLabels=TEXTS),
    ipBlock=_object("cidr", cidr=TEXT, **{"except": _list(TEXT)}),
)
PORT = _object("protocol port", protocol={"const": "TCP"}, port=WHOLE)
METADATA = _object(name=TEXT, generateName=TEXT, annotations=TEXTS)
KINDS = {
    "RayCluster": _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"}, kind=TEXT, metadata=METADATA, spec=CLUSTER,
    ),
    "RayJob": _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"}, kind=TEXT, metadata=METADATA, spec=JOB,
    ),
    "ServiceAccount": _object(
        "apiVersion kind metadata",
        apiVersion={"const": "v1"}, kind=TEXT, metadata=METADATA,
        automountServiceAccountToken={"const": False},
    ),
    "NetworkPolicy": _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": "networking.k8s.io/v1"}, kind=TEXT, metadata=METADATA,
        spec=_object(
            "podSelector policyTypes ingress egress",
            podSelector=_object("matchLabels", matchLabels=TEXTS),
            policyTypes={"const": ["Ingress", "Egress"]},
            ingress=_list(_object("from", **{"from": _list(PEER)}, ports=_list(PORT))),
            egress=_list(_object("to", to=_list(PEER))),
        ),
    ),
}  # fmt: skip
"""Of the objects' fields those that are used here, as KubeRay 1.7 and Kubernetes define them."""


def _load(name):
    return yaml.safe_load((FOLDER / name).read_text())


def _check(tree):
    Draft202012Validator(KINDS[tree["kind"]]).validate(tree)


@pytest.fixture
def cluster():
    return _load("raycluster.yaml")["spec"]


@pytest.fixture
def job():
    return _load("rayjob.yaml")["spec"]


@pytest.mark.parametrize("name", FILES)
def test_an_object_has_the_fields_of_its_kind(name):
    _check(_load(name))
    assert "kubectl" in (FOLDER / name).read_text().split("apiVersion")[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.shutdownAfterJobFinish", True),
        ("spec.backoffLimit", "2"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.minReplicas", -1),
        ("spec.rayClusterSpec.workerGroupSpecs.0.gpu", 1),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.rayClusterSpec.authOptions.mode", "tokens"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy", "Always"),
    ],
)
def test_mistakes_are_found(path, value):
    tree = _load("rayjob.yaml")
    *folders, name = path.split(".")
    section = tree
    for folder in folders:
        section = section[int(folder)] if folder.isdigit() else section[folder]
    section[name] = value
    with pytest.raises(ValidationError):
        _check(tree)


def test_a_jobs_cluster_is_the_cluster(cluster, job):
    assert job["rayClusterSpec"] == cluster


def test_the_head_does_no_work_and_groups_start_from_zero(cluster):
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    for group in cluster["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0)


def test_groups_are_those_of_the_launchers_cluster(cluster):
    launcher = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types = launcher["available_node_types"]
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == set(types) - {launcher["head_node_type"]}
    for name, group in groups.items():
        limits = _limits(group["template"])
        assert group["maxReplicas"] == types[name]["max_workers"]
        assert int(limits.get("nvidia.com/gpu", 0)) == types[name]["resources"].get("GPU", 0)
        capacity = group["template"]["spec"]["nodeSelector"]["karpenter.sh/capacity-type"]
        is_spot = "InstanceMarketOptions" in types[name]["node_config"]
        assert capacity == ("spot" if is_spot else "on-demand")


def _limits(template):
    return template["spec"]["containers"][0]["resources"]["limits"]


def _templates(cluster):
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_the_object_store_fits_in_shared_memory(cluster):
    for template in _templates(cluster):
        volumes = {volume["name"]: volume["emptyDir"] for volume in template["spec"]["volumes"]}
        mounts = template["spec"]["containers"][0]["volumeMounts"]
        paths = {mount["mountPath"]: volumes[mount["name"]] for mount in mounts}
        assert paths["/dev/shm"]["medium"] == "Memory"
        memory = int(_limits(template)["memory"].removesuffix("Gi"))
        assert int(paths["/dev/shm"]["sizeLimit"].removesuffix("Gi")) > 0.3 * memory
        assert "medium" not in paths["/tmp/ray"]


def test_pods_act_by_a_role_and_workers_have_no_rights_of_the_heads(cluster):
    head, worker = _load("serviceaccount.yaml"), _load("workeraccount.yaml")
    for account in (head, worker):
        role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert role.startswith("arn:aws:iam::")
    assert worker["automountServiceAccountToken"] is False
    first, *others = _templates(cluster)
    assert first["spec"]["serviceAccountName"] == head["metadata"]["name"]
    assert len(others) == 2
    for template in others:
        assert template["spec"]["serviceAccountName"] == worker["metadata"]["name"]
        assert template["spec"]["automountServiceAccountToken"] is False
    assert head["metadata"]["name"] != worker["metadata"]["name"]
    for template in (first, *others):
        names = {one["name"] for one in template["spec"]["containers"][0]["env"]}
        assert not [name for name in names if "AWS" in name or "TOKEN" in name]


@pytest.mark.parametrize("path", ["securityContext", "containers.0.securityContext"])
def test_a_pod_without_bounds_of_its_rights_is_refused(path):
    tree = _load("raycluster.yaml")
    for template in _templates(tree["spec"]):
        section = template["spec"]
        *folders, name = path.split(".")
        for folder in folders:
            section = section[int(folder)] if folder.isdigit() else section[folder]
        kept = section.pop(name)
        with pytest.raises(ValidationError):
            _check(tree)
        section[name] = kept
    assert "securityContext" in tree["spec"]["autoscalerOptions"]


def test_pods_are_reached_by_rays_own_and_reach_no_metadata():
    policy = _load("networkpolicy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    own, others = policy["ingress"]
    assert own["from"] == [{"podSelector": policy["podSelector"]}]
    assert all(one["podSelector"]["matchLabels"] for one in others["from"])
    assert {one["port"] for one in others["ports"]} == {8265, 52365}
    (everywhere,) = (one["ipBlock"] for rule in policy["egress"] for one in rule["to"])
    assert everywhere["except"] == ["169.254.169.254/32"]


def test_images_may_be_named_by_their_digests_too(cluster):
    docker = " ".join((FOLDER / "Dockerfile").read_text().replace("\n# ", " ").split())
    base = re.search(r"FROM (\S+)", docker)[1]
    assert f"`docker buildx imagetools inspect {base}` shows" in docker
    text = (FOLDER / "raycluster.yaml").read_text()
    image = re.search(r"image: &image (\S+)", text)[1]
    _check(yaml.safe_load(text.replace(image, f"{image}@sha256:{'0' * 64}")))


def test_ray_is_that_of_the_constraints(cluster):
    ray = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert cluster["rayVersion"] == ray
    assert f"FROM rayproject/ray:{ray}-py" in (FOLDER / "Dockerfile").read_text()


def test_the_entrypoint_is_the_jobs_own_with_all_on_storage(job):
    command = job["entrypoint"].split()
    assert (ROOT / command[1]).is_file()
    assert (ROOT / command[3]).is_file()
    assert all("=s3://" in word for word in command[4:])


def test_the_image_has_the_code_where_the_job_looks_for_it(job):
    folder = yaml.safe_load(job["runtimeEnvYAML"])["working_dir"].removeprefix("local://")
    docker = (FOLDER / "Dockerfile").read_text()
    for name in ("qaclims_ray", "jobs", "configs"):
        assert f" {name} {folder}/{name}\n" in docker


def test_the_image_has_what_its_build_reads_and_what_a_search_needs():
    """The wheel's configurations come from configs/, which setup.py names; Optuna from an extra."""
    docker = (FOLDER / "Dockerfile").read_text()
    before = docker.partition("RUN pip install")[0]
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "configs", "qaclims_ray"):
        assert f" {name} " in before
        assert (ROOT / name).exists()
    assert '-e "/home/ray/qaclims_ray[tune]"' in docker
