"""Stage 7: score CAMs, seeds, pseudo masks or predictions against the ground truth.

In: the artifact `images` and the one to score, or a folder of label maps. Out: the artifacts
`scores`, `baseline_scores` and so on: confusion counts of each image, and `scores.json` with mIoU
and intervals.
"""
