"""Augmentations of slices: each draws, then applies."""
