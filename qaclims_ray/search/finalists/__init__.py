"""The comparison of the best trials over seeds."""
