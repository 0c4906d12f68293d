"""Registers the similarity metric `mind`; what it needs is imported when it is used."""

from __future__ import annotations

from typing import Any

import ctseg

CTSEG_CONTRACT = 2


@ctseg.hookimpl
def ctseg_register_similarity_metrics(register: Any) -> None:
    """Add the similarity metric `mind`."""
    register(
        "mind",
        _build,
        summary="MIND-SSC: self-similarity, independent of the modality",
        settings=_settings,
        reference="Heinrich et al., MICCAI 2013 (MIND-SSC)",
    )


def _build(**settings: Any) -> Any:
    from ctseg_mind.metric import MindMetric

    return MindMetric(**settings)


def _settings() -> Any:
    from ctseg_mind.settings import MindSettings

    return MindSettings
