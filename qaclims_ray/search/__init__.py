"""Stage 8: search the values that give the best CAMs, and measure what each part contributes.

In: an experiment with the section `tune`, or a study of variants. Out: `<run>/search/` with the
table of trials, the finalists over seeds and `best.yaml`; or the table of a study.
"""
