"""Stage 6: segment images with the trained segmenter, which uses no image labels.

In: the artifacts `images` and `segmenter`. Out: the artifact `predictions`, one label map per
image. `predict` offers the same for NumPy arrays.
"""
