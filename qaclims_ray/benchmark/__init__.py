"""Benchmarks of the user's machine: the published way beside ours, with random weights.

In: a device; no data and no downloads. Out: a table of rates and ratios, all figures as JSON, and
the hours that VOC 2012 and COCO 2014 would take.
"""
