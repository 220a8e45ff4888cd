"""A study: variants of one experiment, to be compared over seeds (`configs/demo_ablation.yaml`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt

from qaclims_ray.config.base import Section
from qaclims_ray.config.experiment import read_yaml
from qaclims_ray.config.overrides import Tree, validate, with_overrides
from qaclims_ray.config.shipped import config_file

Network = Literal["classifier", "cam_net"]
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]


class Variant(Section):
    """One row of the table."""

    title: str
    network: Network = "cam_net"
    """Network whose CAMs are scored."""
    seeds: Literal["networks", "images"] = "networks"
    """networks: all seeds train on the same images. images: each seed draws images of its own
    (`data.seed`), as CAMs of a frozen CLIP differ in nothing else."""
    overrides: Tree = {}
    """Dotted keys in which it differs from the base experiment."""


class Study(Section):
    """Variants of one experiment, and the splits and seeds to compare them on."""

    config: str
    """File of the base experiment, relative to the study's own."""
    run: str
    """Folder or URL of all runs of the study."""
    overrides: Tree = {}
    """Dotted keys for all variants."""
    tuning: Tree
    """Dotted keys of the selection split, on which each variant's threshold is selected."""
    tuning_seeds: Seeds = (0,)
    reporting: Tree
    """Dotted keys of the report split, whose scores the table shows."""
    reporting_seeds: Seeds = (0, 1, 2)
    variants: dict[str, Variant] = Field(min_length=1)
    """Variants by the name of their folder."""


def load_study(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read a study and override keys of its own, such as `run`.

    Raises:
        ValueError: the file is absent or no mapping, or keys or values are wrong; all are listed.
    """
    file = config_file(path)
    study = validate(Study, with_overrides(read_yaml(file), overrides or {}), str(file))
    return study.model_copy(update={"config": str(file.parent / study.config)})
