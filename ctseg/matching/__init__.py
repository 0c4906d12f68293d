"""Slices become pairs."""
