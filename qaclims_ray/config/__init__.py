"""The configuration: every number that a run depends on, in one tree of pydantic sections.

In: a YAML file and overrides with dotted keys. Out: an `Experiment`, validated once; each error
names the key, its value and the nearest legal one.
"""
