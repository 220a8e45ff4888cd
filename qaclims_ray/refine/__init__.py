"""6. CAMs to seeds to pseudo masks."""
