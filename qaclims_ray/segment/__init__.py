"""6. Segment images with the trained network, whose labels nobody need know.

In: `segmenter`, and `images` or any images. Out: `predictions`, PNG, COCO JSON, ONNX.
"""
