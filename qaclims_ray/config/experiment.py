"""The experiment: every number that a run depends on.

`configs/*.yaml` mirror `Experiment` and its sections one to one. A value is

    class default  <  YAML file  <  override ("train.ritc.loss.foreground=12")
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import model_validator

from qaclims_ray.config.base import Section
from qaclims_ray.config.cams import Cams
from qaclims_ray.config.compute import Compute
from qaclims_ray.config.corpus import Corpus
from qaclims_ray.config.data import Data
from qaclims_ray.config.evaluate import Evaluate
from qaclims_ray.config.model import Model
from qaclims_ray.config.overrides import Tree, flatten, parse_yaml, validate, with_overrides
from qaclims_ray.config.refine import Refine
from qaclims_ray.config.search import Tune
from qaclims_ray.config.segment import Segment
from qaclims_ray.config.shipped import config_file
from qaclims_ray.config.train import Train
from qaclims_ray.storage.paths import absolute, shown

PACKAGE = "package:"
"""Prefix of a location inside the installed package, such as `package:demo/weights/clip`."""

_CREDENTIALS = re.compile(
    r"://[^/?#\s]*@|[?&](X-Amz-Signature|X-Amz-Credential|X-Goog-Signature|sig|signature|token|access_token|api_?key|key|auth)=",
    re.IGNORECASE,
)
"""User and password in a URL, or its signature."""
_SECRET = re.compile(
    r"\.(extra|engine_kwargs)\.(.*\.)?([\w-]*[_-])?"
    r"(api_?key|key|token|secret|password|authorization|credentials?)$",
    re.IGNORECASE,
)
"""Key of an engine's further arguments whose text is a credential, such as `hf_token`."""


class Experiment(Section):
    """One run, from images to scores."""

    name: str
    run: str
    """Folder or URL that holds the artifacts."""
    base: tuple[str, ...] = ()
    """Other runs whose complete artifacts are used, read-only, where this one has none."""
    data: Data
    new_images: Data | None = None
    """Images that the segmenter predicts beside those of `data`, such as a held-out split: without
    a `kind`, keys that are not given are those of `data`. Their labels are not used; their masks,
    where there are any, score the predictions."""
    corpus: Corpus = Corpus()
    model: Model = Model()
    train: Train = Train()
    cams: Cams = Cams()
    refine: Refine = Refine()
    segment: Segment = Segment()
    evaluate: Evaluate = Evaluate()
    tune: Tune = Tune()
    compute: Compute = Compute()

    @model_validator(mode="before")
    @classmethod
    def _complete_new_images(cls, tree: Any) -> Any:
        match tree:
            case {"data": {**data}, "new_images": {**new}} if "kind" not in new:
                return {**tree, "new_images": {**data, **new}}
            case _:
                return tree

    def plain(self) -> Tree:
        """The resolved tree as plain data, for YAML."""
        return self.model_dump(mode="json")

    def anchored(self) -> "Experiment":
        """A copy with absolute paths of its runs, for processes that work in other folders."""
        base = tuple(absolute(run) for run in self.base)
        return self.model_copy(update={"run": absolute(self.run), "base": base})

    def with_overrides(self, overrides: Mapping[str, Any]) -> "Experiment":
        """A validated copy with dotted keys set."""
        return _validated(with_overrides(self.plain(), overrides), "overrides")


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read a YAML file, apply dotted overrides, validate the result once.

    Args:
        path: Of the file, or the name of a configuration that comes with the package.
        overrides: Dotted keys and their values.

    Raises:
        ValueError: the file is absent or no mapping, or keys or values are wrong; all are listed.
            Or a value holds credentials: every artifact would keep them.
    """
    file = config_file(path)
    return _validated(with_overrides(read_yaml(file), overrides or {}), str(file))


def _validated(tree: Tree, source: str) -> Experiment:
    for key, value in flatten(tree):
        if isinstance(value, str) and _CREDENTIALS.search(value):
            raise ValueError(
                f"{source}: {key}: {shown(value)} was given with credentials, which every artifact "
                "would keep: leave them out; the storage takes them from its environment, such as "
                "AWS_PROFILE or AWS_ACCESS_KEY_ID"
            )
        if isinstance(value, str) and _SECRET.search(key):
            raise ValueError(
                f"{source}: {key} is a credential, which every artifact would keep: leave it out "
                "and set the environment variable of corpus.engine.key_variable, or HF_TOKEN"
            )
    return validate(Experiment, tree, source)


def read_yaml(path: str | Path) -> Tree:
    """The mapping in a YAML file.

    Raises:
        ValueError: something else than a mapping is in it.
    """
    tree = parse_yaml(Path(path).read_text(encoding="utf-8"), f"config {str(path)!r}")
    if not isinstance(tree, dict):
        raise ValueError(f"config {str(path)!r}: expected a mapping, got {type(tree).__name__}")
    return tree


def dump(experiment: Experiment) -> str:
    """The resolved tree as YAML; loading it gives an equal experiment."""
    return yaml.safe_dump(experiment.plain(), sort_keys=False, allow_unicode=True)


def resolve(location: str) -> str:
    """A location of weights: `package:demo/…` becomes a path inside the installed package."""
    if not location.startswith(PACKAGE):
        return location
    return str(files("qaclims_ray").joinpath(location.removeprefix(PACKAGE)))
