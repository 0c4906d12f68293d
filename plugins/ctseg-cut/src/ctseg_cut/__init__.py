"""Registers the generator `cut`; torch is imported when it is made."""

from __future__ import annotations

from typing import Any

import ctseg


@ctseg.hookimpl
def ctseg_register_generators(register: Any) -> None:
    """Add the generator `cut`."""
    register(
        "cut",
        _build,
        summary="contrastive unpaired translation, MR to CT only, own objective",
        settings=_settings,
        reference="Park et al., ECCV 2020, Contrastive learning for unpaired image-to-image translation",
    )


def _build(**settings: Any) -> Any:
    from ctseg_cut.generator import CutGenerator

    return CutGenerator(**settings)


def _settings() -> Any:
    from ctseg_cut.settings import CutSettings

    return CutSettings
