"""The configuration of a run, kept beside its artifacts: who opens a run needs no other file."""

from qaclims_ray.config.experiment import Experiment, dump
from qaclims_ray.config.overrides import Tree, parse_yaml, validate, with_overrides
from qaclims_ray.config.renamed import current_keys
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.existing import require_folder
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.storage.files import exists, read_text, write_bytes
from qaclims_ray.storage.paths import absolute

CONFIG = "config.yaml"
"""File of a run with the resolved configuration of what was made in it last."""


def record(experiment: Experiment) -> None:
    """Keep the configuration that an artifact of a run is made with."""
    write_bytes(f"{absolute(experiment.run)}/{CONFIG}", dump(experiment.anchored()).encode())


def recorded(run: str) -> Experiment:
    """Return the configuration that a run was made with last.

    Runs of earlier versions lack the file. There, it is put together from the recipes of all
    complete artifacts; keys that decide no content, such as those of `compute`, have their
    defaults.

    Args:
        run: Folder or URL, wherever the run lies now.

    Raises:
        ValueError: there is no such run (runs of a like name are named), or nothing in it says how
            it was made.
    """
    folder = absolute(run)
    require_folder(folder)
    uri = f"{folder}/{CONFIG}"
    tree = parse_yaml(read_text(uri, "YAML"), uri) if exists(uri) else _from_recipes(folder)
    return validate(Experiment, {**tree, "run": folder}, uri)


def _from_recipes(folder: str) -> Tree:
    manifests = [Artifact(name, f"{folder}/{name}", {}).manifest() for name in ARTIFACTS]
    recipes = [current_keys(manifest["recipe"]) for manifest in manifests if manifest is not None]
    if not recipes:
        raise ValueError(
            f"{folder} holds neither {CONFIG} nor a complete artifact, so nothing says how it was "
            "made: name a run, or give its configuration"
        )
    keys = {key: value for one in recipes for key, value in one.items()}
    return with_overrides({"name": folder.rpartition("/")[2]}, keys)
