"""Published checkpoints, file by file, into the files that we load."""

from safetensors.torch import save_file

from qaclims_ray.model import checkpoints
from qaclims_ray.model.clip import load_clip, save_clip
from qaclims_ray.model.irn import Irn
from qaclims_ray.model.resnet import resnet50

OVSEG_MODEL, OVSEG_DEPTH = "ViT-L-14-quickgelu", 3
"""Architecture of the CLIP in OVSeg's published checkpoint, and its number of mask embeddings."""


def convert_clip(checkpoint: str, directory: str) -> str:
    """Make OVSeg's checkpoint a CLIP directory for `model.clip.model`; return a summary line."""
    clip = load_clip(OVSEG_MODEL, checkpoint, mask_prompt_depth=OVSEG_DEPTH)
    save_clip(clip, directory)
    return f"clip: {len(clip.state_dict())} tensors · {directory}"


def convert_irn(checkpoint: str, file: str) -> str:
    """Make a published boundary network's checkpoint a safetensors file in our names.

    Returns a summary line.
    """
    net = Irn(resnet50())
    state = checkpoints.from_published_irn(checkpoints.read_state(checkpoint))
    checkpoints.load_exactly(net, state, checkpoint)
    save_file(net.state_dict(), file)
    return f"irn: {len(state)} tensors · {file}"
