"""Measures the user's own hardware: the published way beside ours, and hours for VOC and COCO."""
