"""Stage 1: data sets of images with image-level labels become the artifact `images`.

In: VOC 2012, COCO 2014, a folder, WebDataset tars, or the demo world, at a path or URL. Out: one
row per image with its file unchanged, size, labels and ground truth, errors beside them, and facts.
"""
