"""Scans in, masks out, slice sets."""
