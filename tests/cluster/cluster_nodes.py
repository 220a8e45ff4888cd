"""A Ray cluster of several nodes on this machine, in a process of its own that takes commands.

python tests/cluster/cluster_nodes.py FOLDER CPUS,GPUS [CPUS,GPUS …]

The first node is the head. Commands on standard input, answers on standard output, a line of JSON
each: `["address"]`, `["actors"]` (class, name and node of each actor that was), `["kill", K]`
and `["add", CPUS, GPUS]`. Ends with its standard input.
"""

import json
import os
import sys

import ray
from ray._private import state
from ray.cluster_utils import Cluster


class Nodes:
    """The cluster, and what may be done to it."""

    def __init__(self, folder, kinds):
        options = {"include_dashboard": False, "object_store_memory": 150_000_000}
        head, *others = kinds
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**_args(*head), **options, "temp_dir": folder}
        )
        self._nodes = [self._cluster.head_node]
        for kind in others:
            self.add(*kind)
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")

    def address(self):
        return self._cluster.address

    def add(self, cpus, gpus):
        self._nodes.append(
            self._cluster.add_node(**_args(cpus, gpus), object_store_memory=150_000_000)
        )
        return len(self._nodes) - 1

    def kill(self, number):
        self._cluster.remove_node(self._nodes[number], allow_graceful=False)
        return number

    def actors(self):
        found = state.actors().values()
        return [
            [actor["ActorClassName"], actor["Name"], actor["Address"]["NodeID"]] for actor in found
        ]


def _args(cpus, gpus):
    return {"num_cpus": cpus, "num_gpus": gpus}


if __name__ == "__main__":
    folder, *kinds = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints is no answer
    nodes = Nodes(folder, [tuple(map(int, kind.split(","))) for kind in kinds])
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        answers.write(json.dumps(getattr(nodes, command)(*arguments)) + "\n")
        answers.flush()
    ray.shutdown()
    nodes._cluster.shutdown()
