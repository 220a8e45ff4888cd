"""Stage 5: turn CAMs into seeds, and into pseudo masks that label every pixel.

In: the artifacts `images` and `cams`, and for masks by the random walk the boundary network `irn`.
Out: the artifacts `seeds` and `masks`, one label map per image.
"""
