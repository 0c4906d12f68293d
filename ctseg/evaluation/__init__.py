"""Masks against a reference."""
