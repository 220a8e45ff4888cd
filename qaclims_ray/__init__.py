"""QA-CLIMS on Ray: weakly supervised semantic segmentation from image labels.

In: images with image-level labels, and one configuration. Out: class activation maps (CAMs), pseudo
masks, a segmenter and their scores. The README shows the folders and says which files to read
first.
"""
