"""Ray: sessions, what a cluster can give, maps over artifacts, tasks, and settings of Ray Train.

In: the section `compute`, and actors and functions that know no Ray. Out: their results, written as
blocks of an artifact. Beside this folder only `train.stage` and `search.tuner` import Ray.
"""
