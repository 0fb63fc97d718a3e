"""A small CLIP trained from scratch on the drawn sample catalog."""
