"""What scores state about themselves: which images, how they were made, what was used for it."""

from typing import Any

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, data_of, images_of, inputs_of
from qaclims_ray.run.images import decided_share, num_unreadable
from qaclims_ray.run.recipe import chosen_by_masks

CHOSEN, NOTHING = "weights chosen by ground truth masks", "none"
"""Setting that names networks whose supervision is not weak, and its value where there is none."""

_STRIDES = {"strided": 4, "full": 1}


def settings_of(experiment: Experiment, scored: str) -> dict[str, Any]:
    """State which images were scored, and how."""
    images_name = images_of(scored) if scored in ARTIFACTS else "images"
    data = data_of(experiment, images_name)
    listed = experiment.evaluate.names if images_name == "images" else None
    return {
        "data": data.kind,
        "split": getattr(data, "split", None),
        "names": listed or "all",
        "unreadable": num_unreadable(experiment, images_name),
        "scored": scored,
        # How the ground truth was drawn, of data that have it as outlines.
        **{name: getattr(data, name) for name in ("crowds", "overlap") if hasattr(data, name)},
        "absent classes": experiment.evaluate.absent_classes,
    }


def cam_settings(experiment: Experiment, scored: str) -> dict[str, Any]:
    """State how CAMs were made."""
    cams = experiment.cams
    if "cam_texts" in inputs_of(experiment, scored):
        made = {
            "network": network_of(experiment, scored),
            "backgrounds": cams.backgrounds,
            "template": cams.clip.template,
            "scales": list(cams.clip.scales),
            "flips": cams.clip.flip,
            "refinement": "attention affinity" if cams.clip.affinity else "none",
        }
    else:
        made = {
            "network": network_of(experiment, scored),
            "scales": list(cams.scales),
            "flips": True,
            "activation": cams.activation,
            "resizing": cams.resize,
            "refinement": "none",
        }
    return {
        **made,
        "resolution": cams.resolution,
        "stride": _STRIDES[cams.resolution],
        "crf": False,
        "image labels": "used",
        CHOSEN: _chosen(experiment, scored),
    }


def network_of(experiment: Experiment, cams: str) -> str:
    """Say which network made an artifact of CAMs."""
    clip = experiment.cams.clip
    if "cam_texts" in inputs_of(experiment, cams):
        weights = clip.pretrained or "its own weights"
        return f"frozen CLIP {clip.model.rpartition('/')[2]} ({weights.rpartition('/')[2]})"
    return f"{ARTIFACTS[cams].of} ({experiment.model.backbone})"


def _chosen(experiment: Experiment, scored: str) -> str:
    chosen = chosen_by_masks(experiment, scored).items()
    return ", ".join(f"{network} ({fit}.keep: best)" for network, fit in chosen) or NOTHING


def label_map_settings(experiment: Experiment, scored: str) -> dict[str, Any]:
    """State how label maps were made, and what was used for it; little is known of others'."""
    settings: dict[str, Any] = {"unsure": experiment.evaluate.unsure}
    if scored not in ARTIFACTS:
        return settings
    settings["image labels"] = "used" if ARTIFACTS[scored].supervision else "not used"
    settings[CHOSEN] = _chosen(experiment, scored)
    settings["decided"] = round(decided_share(artifact(experiment, scored)), 6)
    if scored in ("seeds", "masks"):
        settings["CAMs"] = network_of(experiment, "cams")
    if scored == "seeds":
        settings["refinement"] = experiment.refine.seeds.kind
    elif scored == "masks":
        settings["refinement"] = experiment.refine.masks.kind
    else:
        segment = experiment.segment
        settings |= {
            "scales": list(segment.scales),
            "flips": segment.flip,
            "refinement": segment.refine,
            "pixel-supervised weights": _pixel_supervised(experiment),
        }
    return settings


def _pixel_supervised(experiment: Experiment) -> str:
    """Say whether the segmenter started from weights trained with pixel masks, and how it is known.

    Segmenters trained before this was recorded have what the configuration allowed.
    """
    started = artifact(experiment, "segmenter").require()["facts"].get("weights")
    if started is None:
        return "allowed" if experiment.train.segmenter.pixel_supervised_weights else "no"
    answer = {True: "yes", False: "no", None: "unknown"}[started["pixel_masks"]]
    return f"{answer} ({started['reason']})"
