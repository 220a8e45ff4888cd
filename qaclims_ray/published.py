"""Published files into a run, in place of its own stages, and its CAM networks back out."""

from collections.abc import Iterator, Mapping, Sequence

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.jsonl import import_answers
from qaclims_ray.corpus.published import import_corpus
from qaclims_ray.model.clip_files import load_clip, save_clip
from qaclims_ray.train.published import export_net, import_net

_OVSEG_MODEL, _OVSEG_DEPTH = "ViT-L-14-quickgelu", 3
"""Architecture of the CLIP in OVSeg's published checkpoint, and its number of mask embeddings."""


def run(
    wanted: Mapping[str, Sequence[str]], experiment: Experiment | None, *, overwrite: bool
) -> Iterator[str]:
    """Import or export files, and say so line by line.

    Args:
        wanted: Files by what they are: corpus, answers, classifier, cam_net, export, clip, irn; see
            `qaclims import-published --help`.
        experiment: The run that they belong to; None for `clip` alone, which needs none.
        overwrite: Replace artifacts that are complete.

    Raises:
        ValueError: a run is needed and there is none; files that don't fit.
    """
    rest = dict(wanted)
    if "clip" in rest:
        checkpoint, directory = rest.pop("clip")
        clip = load_clip(_OVSEG_MODEL, checkpoint, mask_prompt_depth=_OVSEG_DEPTH)
        save_clip(clip, directory)
        yield f"clip: {len(clip.state_dict())} tensors · {directory}"
    if not rest:
        return
    if experiment is None:
        raise ValueError(f"{sorted(rest)} need --config FILE, the run that they belong to")
    for kind, files in rest.items():
        if kind == "export":
            yield export_net(experiment, network=files[0], checkpoint=files[1])
        elif kind == "corpus":
            yield import_corpus(experiment, files, overwrite)
        elif kind == "answers":
            yield import_answers(experiment, files[0], overwrite)
        else:
            yield import_net(experiment, kind, files[0], overwrite)
