"""Checks of a run before it starts, for what would end it hours later.

In: an experiment and the artifacts to make. Out: lines about the cluster and the work ahead, or one
error that lists every problem: a missing file or model, too small a disk, a pool that never fits.
"""
