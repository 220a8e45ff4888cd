"""Stage 7: score CAMs, seeds, pseudo masks or predictions against the ground truth.

In: `images` and the artifact to score, or a folder of label maps. Out: `scores` and the like, with
the confusion counts of each image, and `scores.json` with mIoU and intervals.
"""
