"""Stage 3: train a network, with one loop for all and one file for each training.

In: `images` and what a training names beside it: `pairs` and `texts` for RITC, `seeds` for the
boundary network, `masks` for the segmenter. Out: a network's `model.safetensors` and `metrics/`.
"""
