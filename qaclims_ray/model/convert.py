"""A published checkpoint of CLIP into the files that we load."""

from qaclims_ray.model.clip_files import load_clip, save_clip

OVSEG_MODEL, OVSEG_DEPTH = "ViT-L-14-quickgelu", 3
"""Architecture of the CLIP in OVSeg's published checkpoint, and its number of mask embeddings."""


def convert_clip(checkpoint: str, directory: str) -> str:
    """Make OVSeg's checkpoint a CLIP directory for `model.clip.model`; return a summary line."""
    clip = load_clip(OVSEG_MODEL, checkpoint, mask_prompt_depth=OVSEG_DEPTH)
    save_clip(clip, directory)
    return f"clip: {len(clip.state_dict())} tensors · {directory}"
