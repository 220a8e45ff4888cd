"""Scores of segmentation as NumPy arrays: a library for notebooks that knows no run and no Ray.

In: CAMs or label maps, and ground truth. Out: confusion counts of all thresholds at once, counts
along boundaries, and bootstrap intervals of what is computed from them.
"""
