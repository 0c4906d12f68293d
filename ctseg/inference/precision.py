"""The arithmetic of `segment`: float32 unless bfloat16 is asked for, or is faster by the clock and may be used."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from ctseg.inference.models import LoadedModel, ModelGroup, mask_models
from ctseg.training.device import has_fast_bf16
from ctseg.training.device_names import PRECISIONS, check_precision_name

GAIN = 0.8
"""bfloat16 has to take at most this share of float32's time: it rounds to three digits, so it must be worth it."""


def chosen_precision(asked: str, groups: Sequence[ModelGroup]) -> str:
    """What `--precision` means for some models on the device that they are on.

    Args:
        asked: '32', 'bf16' (mixed), or 'auto': bf16 where it is faster. On a GPU its kind tells; on a CPU one slice is
            timed in either arithmetic, since neither instruction sets nor the width of a network alone tell.
        groups: the models.

    Returns:
        As `SegmentSettings.precision`.

    Raises:
        SettingError: if it is unknown.
    """
    check_precision_name(asked)
    if asked in PRECISIONS:
        return PRECISIONS[asked]
    models = mask_models(groups)
    is_faster = all(map(has_fast_bf16, {model.device.type for model in models} - {"cpu"}))
    on_cpu = [model for model in models if model.device.type == "cpu"]
    if is_faster and on_cpu:
        is_faster = _seconds(on_cpu, mixed=True) <= GAIN * _seconds(on_cpu, mixed=False)
    return PRECISIONS["bf16" if is_faster else "32"]


def _seconds(models: Sequence[LoadedModel], *, mixed: bool) -> float:
    """CPU seconds that all models need for one slice, the second time."""
    spent = 0.0
    for model in models:
        size = model.preprocessing.size
        slices = torch.zeros(1, 1, size, size)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            model.module(slices)
            started = time.process_time()
            model.module(slices)
            spent += time.process_time() - started
    return spent
