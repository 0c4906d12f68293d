"""Registers four of MONAI's networks as segmenters; MONAI and torch are imported when one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctseg

SUMMARIES = {
    "monai-unet": ("residual U-Net", "Kerfoot et al. 2019; MONAI's UNet"),
    "monai-attention-unet": ("U-Net with attention gates", "Oktay et al. 2018; MONAI's AttentionUnet"),
    "monai-segresnet": ("residual encoder with group norm, light decoder", "Myronenko 2018; MONAI's SegResNet"),
    "monai-swin-unetr": (
        "Swin transformer encoder, convolutional decoder",
        "Hatamizadeh et al. 2022; MONAI's SwinUNETR",
    ),
}


@ctseg.hookimpl
def ctseg_register_segmenters(register: Any) -> None:
    """Add the segmenters."""
    for name, (summary, reference) in SUMMARIES.items():
        register(name, _factory(name), summary=summary, settings=_settings(name), reference=reference)


def _factory(name: str) -> Callable[..., Any]:
    def build(**settings: Any) -> Any:
        from ctseg_monai.networks import BUILDERS

        return BUILDERS[name](**settings)

    return build


def _settings(name: str) -> Callable[[], Any]:
    def load() -> Any:
        from ctseg_monai.settings import MODELS

        return MODELS[name]

    return load
