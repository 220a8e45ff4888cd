"""Runs from Python, for notebooks and own code: `Run`, `load_experiment` and `make`.

In: a configuration, or the folder of a run. Out: artifacts, and what they hold as pandas, pyarrow
and NumPy.
"""
