"""The demo world: drawn images and tiny models, for a real run without downloads.

In: a seed and a number of images. Out: images with exact masks, and the answer to every question
about them. `weights/` holds the tiny models; `pretrain/` trains them.
"""
