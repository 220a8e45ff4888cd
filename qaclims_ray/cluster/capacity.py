"""What a Ray cluster can ever give: the nodes that it has, and those that it may grow by.

Ray waits in silence for what a cluster lacks. Here it is said at once.
"""

from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Resources = Mapping[str, float]
"""`CPU`, `GPU` and how much of each."""

BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""Where `ray up` leaves its configuration on the head node, on which jobs run."""
_HEAD = "node:__internal_head__"
"""The resource by which Ray marks the head node."""
_SLACK = 1e-6
"""1 / 0.1 and its like may be rounded down."""
_MANY = 10**9
_NAMES = ("CPU", "GPU")


class Keys(NamedTuple):
    """Keys of the configuration that say how many of a thing run at a time, and what one takes."""

    number: str
    """Such as `compute.cams.num_actors`; empty where there is one alone."""
    section: str
    """Whose `num_cpus` and `num_gpus` say what one takes."""
    without_gpu: str = "num_gpus=0"
    """What there makes it take no GPU."""
    share: int = 1
    """How many of the thing one of `number` stands for, such as the workers of a trial."""

    def describe(self) -> str:
        """The keys in a few words."""
        each = f"{self.section}.num_cpus or .num_gpus"
        return f"{self.number}, {each}" if self.number else each


class NoRoom(ValueError):
    """A cluster can never hold what is wanted."""

    def __init__(self, message: str, overrides: Sequence[str]) -> None:
        self.overrides = tuple(overrides)
        """Overrides with which it can; none where no such are known."""
        fits = f". It fits with {' '.join(overrides)}" if overrides else ""
        super().__init__(f"{message}{fits}")


class Capacity(NamedTuple):
    """Nodes that there are or may be."""

    nodes: tuple[Resources, ...]
    is_known: bool = True
    """False where an autoscaler may add nodes of which nothing is known."""
    grows: bool = False
    """Whether an autoscaler adds nodes."""

    def total(self, resource: str) -> float:
        """Add a resource up over all nodes."""
        return sum((node.get(resource, 0.0) for node in self.nodes), 0.0)

    def places(self, each: Resources) -> int:
        """How many of a thing the nodes have room for, if they have nothing else to do."""
        return sum(_places(node, each) for node in self.nodes)

    def fit(self, number: int, each: Resources, keys: Keys, spare_cpus: float = 0.0) -> list[str]:
        """Return overrides with which what is wanted has room; none where there are no such.

        First it takes fewer GPUs, where no node has so many, then fewer CPUs, then there are fewer
        of it.
        """
        overrides: list[str] = []
        cpu, gpu = each.get("CPU", 0.0), each.get("GPU", 0.0)
        most = max(floor(node["GPU"]) for node in self.nodes)
        if gpu > most:
            gpu = float(most)
            fewer_gpus = f"num_gpus={most}" if most else keys.without_gpu
            overrides.append(f"{keys.section}.{fewer_gpus}")
        left = self.total("CPU") - spare_cpus
        largest = min(left, max(node["CPU"] for node in self.nodes))
        if cpu > largest > 0:
            cpu = largest
            overrides.append(f"{keys.section}.num_cpus={cpu:g}")
        fewer = min(number, self.places({"CPU": cpu, "GPU": gpu}))
        if cpu:
            fewer = min(fewer, floor(left / cpu + _SLACK))
        if fewer < number:
            overrides.append(f"{keys.number}={fewer // keys.share}")
        return overrides if fewer >= keys.share else []

    def require(
        self,
        number: int,
        each: Resources,
        keys: Keys,
        spare_cpus: float = 0.0,
    ) -> None:
        """Check that so many actors, workers or trials can run at a time.

        Args:
            number: Of them.
            each: What one takes, all of it on one node.
            keys: Of the configuration that lower the wants, for errors.
            spare_cpus: That must be left.

        Raises:
            NoRoom: the cluster can never satisfy this.
        """
        if not self.is_known:
            return
        overrides = self.fit(number, each, keys, spare_cpus)
        wanted = {name: number * amount for name, amount in each.items()}
        wanted["CPU"] = wanted.get("CPU", 0.0) + spare_cpus
        remedy = (
            f"lower {keys.describe()}, or give compute.num_cpus or a larger cluster "
            "(compute.autoscales=true where one adds nodes as they are asked for)"
        )
        for name, amount in wanted.items():
            has = self.total(name)
            if amount > has + _SLACK:
                raise NoRoom(
                    f"{amount:g} {name}s are needed, the Ray cluster has {has:g}: {remedy}",
                    overrides,
                )
        if self.places(each) < number:
            raise NoRoom(
                f"{number} times {_shown(each)} are needed, each on one node; the Ray cluster has "
                f"room for {self.places(each)} (nodes of {self.describe()}): {remedy}",
                overrides,
            )

    def describe(self) -> str:
        """The kinds of nodes in a few words, such as `2 x 8 CPUs and 1 GPUs, 1 x 16 CPUs`."""
        kinds = [_shown(node) for node in self.nodes]
        return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))


def capacity_of(
    nodes: Sequence[Mapping[str, Any]],
    autoscales: bool | None = None,
    bootstrap: str | Path = BOOTSTRAP,
) -> Capacity:
    """The capacity of a cluster.

    Args:
        nodes: As `ray.nodes()` lists them.
        autoscales: Whether it adds nodes; None: if its head has no CPUs, and so leaves all work to
            others, which something must add.
        bootstrap: Configuration of the cluster launcher, if this is its head node.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    there = tuple(map(_resources, alive))
    grows = autoscales if autoscales is not None else any(one["CPU"] == 0 for one in there)
    path = Path(bootstrap).expanduser()
    if not grows or not path.is_file():
        return Capacity(there, is_known=not grows, grows=grows)
    head = [_resources(one) for one in alive if _HEAD in one and one.get("CPU")]
    return Capacity((*head, *_at_most(yaml.safe_load(path.read_text()))), grows=True)


def _at_most(launcher: Mapping[str, Any]) -> tuple[Resources, ...]:
    """Workers of a cluster that is grown to its limits."""
    head = launcher.get("head_node_type")
    kinds = {name: kind for name, kind in launcher["available_node_types"].items() if name != head}
    most = launcher.get("max_workers", 2)
    return tuple(
        _resources(kind.get("resources", {}))
        for kind in kinds.values()
        for _ in range(min(most, kind.get("max_workers", most)))
    )


def _resources(counts: Mapping[str, Any]) -> Resources:
    return {name: float(counts.get(name, 0)) for name in _NAMES}


def _places(node: Resources, each: Resources) -> int:
    cpus, gpu = each.get("CPU", 0.0), each.get("GPU", 0.0)
    gpus = floor(node["GPU"])
    by_cpus = floor(node["CPU"] / cpus + _SLACK) if cpus else _MANY
    if gpu == 0:
        return by_cpus
    # A share of a GPU lies on one GPU: two of 0.6 do not fit on one and a bit.
    by_gpus = floor(gpus / gpu + _SLACK) if gpu >= 1 else gpus * floor(1 / gpu + _SLACK)
    return min(by_cpus, by_gpus)


def _shown(resources: Resources) -> str:
    parts = [f"{amount:g} {name}s" for name, amount in resources.items() if amount]
    return " and ".join(parts) or "nothing"
