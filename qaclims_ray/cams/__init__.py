"""Stage 4: compute the class activation maps (CAMs) of every image.

In: the artifact `images`, and a trained network (`cam_net` or `classifier`) or the text features of
a frozen CLIP (`cam_texts`). Out: `cams`, `baseline_cams` or `clip_cams`, one row per image with a
float16 map of each class that its labels name.
"""
