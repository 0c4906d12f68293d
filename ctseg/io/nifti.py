"""NIfTI in and out."""

from __future__ import annotations

from ctseg.io.masks import save_map, save_mask, sidecar_path

__all__ = ["save_map", "save_mask", "sidecar_path"]
