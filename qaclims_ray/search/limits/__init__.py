"""What `compute.tune` allows, held also by a search that is taken up."""
