"""9. One HTML page of a run."""
