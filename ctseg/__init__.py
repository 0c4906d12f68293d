"""ctseg: segment haemorrhage on head CT, and train models for it on labelled glioma MR and unlabelled CT.

Research software; not a medical device.
"""

from __future__ import annotations

from typing import Any

from ctseg.plugins.hookspecs import hookimpl
from ctseg.version import __version__

__all__ = ["__version__", "hookimpl", "list_models", "results_schema", "segment"]


def __dir__() -> list[str]:
    """What can be used, also before it is: a notebook completes names by this."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """What `ctseg` offers, on first use: importing ctseg must not import torch."""
    if name in ("list_models", "segment"):
        from ctseg import api

        return getattr(api, name)
    if name == "results_schema":
        from ctseg.inference.results import results_schema

        return results_schema
    raise AttributeError(f"module 'ctseg' has no attribute {name!r}")
