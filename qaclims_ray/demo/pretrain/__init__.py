"""The trainings of the demo's tiny models: backbone, CLIP and BLIP.

In: images of the demo world, drawn without its bias. Out: the files of `demo/weights/`, with a
model card that states how each was trained and what it scores.
"""

MODELS = ("clip", "blip", "cam_backbone")
"""The models by name, in the order in which they are trained."""
