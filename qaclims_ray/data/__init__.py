"""1. Images and image-level labels to shards."""
