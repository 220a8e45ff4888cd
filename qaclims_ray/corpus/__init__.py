"""Stage 2: ask a VQA model about each (image, class) and turn its answers into texts.

In: the artifact `images`. Out: `corpus` (answers), `pairs` (texts of each pair) and `texts` (their
CLIP features). `engines/` answer the questions, `stats/` counts and exports what was answered.
"""
