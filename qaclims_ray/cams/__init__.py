"""5. Class activation maps of every image."""
