"""Published files into a run, in place of its own stages, and its CAM networks back out."""

from collections.abc import Iterator, Mapping
from typing import Any

from qaclims_ray.config.experiment import load as load_config
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.corpus.published import import_corpus
from qaclims_ray.model.convert import convert_clip
from qaclims_ray.train.published import export_net, import_net

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "corpus": (("FG.npy", "BG.npy"), "published VQA answers as the artifact corpus"),
    "classifier": (("CHECKPOINT",), "a published res50_cam.pth as the artifact classifier"),
    "cam_net": (("CHECKPOINT",), "a published res50_qa_clims.pth as the artifact cam_net"),
    "export": (("NETWORK", "CHECKPOINT"), "classifier or cam_net as the published code loads it"),
    "clip": (("CHECKPOINT", "DIRECTORY"), "OVSeg's checkpoint as a CLIP for model.clip.model"),
    "irn": (("CHECKPOINT",), "a published res50_irn.pth as the artifact irn"),
}
"""What can be imported: its files, and what becomes of them."""


def run(options: Mapping[str, Any]) -> Iterator[str]:
    """Import or export what the options ask for, and say so line by line.

    Args:
        options: files of each of `KINDS`, None where it isn't wanted; `config`, a YAML file or
            None; `overrides`, texts `key=value`; `overwrite`.

    Raises:
        ValueError: a run is needed and there is no `config`; files that don't fit.
    """
    wanted = {kind: options[kind] for kind in KINDS if options[kind] is not None}
    if "clip" in wanted:
        yield convert_clip(*wanted.pop("clip"))
    if not wanted:
        return
    if options["config"] is None:
        raise ValueError(f"{sorted(wanted)} need --config FILE, the run that they belong to")
    experiment = load_config(options["config"], parse_overrides(options["overrides"]))
    for kind, files in wanted.items():
        if kind == "export":
            yield export_net(experiment, network=files[0], checkpoint=files[1])
        elif kind == "corpus":
            yield import_corpus(experiment, files, options["overwrite"])
        else:
            yield import_net(experiment, kind, files[0], options["overwrite"])
