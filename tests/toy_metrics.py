"""Metrics of tests, in a module that spawned workers can import."""

from __future__ import annotations

from typing import Any

import numpy as np


def width_mm(pair: Any) -> float:
    columns = np.flatnonzero(pair.ref.any(axis=(0, 1)))
    return float(len(columns) * np.linalg.norm(pair.grid.col_step_mm)) if len(columns) else float("nan")
