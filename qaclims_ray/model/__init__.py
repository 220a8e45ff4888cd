"""Networks and their mathematics in PyTorch: a library for notebooks that knows no run and no Ray.

In: tensors on one device, and files with weights. Out: CAMs, losses, refined maps, boundaries and
segmentations. `predictor` and `crf` take and give NumPy arrays instead.
"""
