"""A run and its artifacts: what each is made from, whether it is complete, and how work goes on.

In: an `Experiment`. Out: artifacts, which are folders with Parquet tables or a network, each made
by one job at a time and published whole. `graph` is the table of them. No Ray here.
"""
