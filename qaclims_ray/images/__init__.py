"""Images and label maps as NumPy arrays: a library for notebooks that knows no run and no Ray.

In: bytes of untrusted files, rows of artifacts. Out: RGB pixels, label maps, training views, CAMs
at image size, colours of label maps, PNG bytes.
"""
