"""The built-in image world and its tiny models: a real run without downloads."""
