"""The trials of a search under Ray Tune."""
