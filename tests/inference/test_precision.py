from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from segment_helpers import bright_model

from ctseg.errors import SettingError
from ctseg.inference import precision
from ctseg.inference.models import by_preprocessing
from ctseg.inference.precision import chosen_precision
from ctseg.inference.predict import predict_slices
from ctseg.inference.settings import SegmentSettings
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.unet import UNet


@pytest.mark.parametrize(("asked", "found"), [("32", "32-true"), ("bf16", "bf16-mixed"), ("bf16-mixed", "bf16-mixed")])
def test_what_is_asked_for_is_used(asked: str, found: str) -> None:
    assert chosen_precision(asked, by_preprocessing([bright_model()])) == found


def test_an_unknown_one_is_one_line() -> None:
    with pytest.raises(SettingError, match="--precision 16: unknown; use auto, 32 or bf16"):
        chosen_precision("16", by_preprocessing([bright_model()]))


@pytest.mark.parametrize(("mixed_s", "found"), [(0.5, "bf16-mixed"), (0.79, "bf16-mixed"), (0.9, "32-true")])
def test_auto_goes_by_the_clock(mixed_s: float, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda models, *, mixed: mixed_s if mixed else 1.0)
    assert chosen_precision("auto", by_preprocessing([bright_model()])) == found


def test_the_clock_runs_the_network_in_either_arithmetic() -> None:
    seen: list[torch.dtype] = []
    network = FcnVgg16(width=4).eval()
    network.register_forward_hook(lambda module, given, made: seen.append(made.logits.dtype))
    groups = by_preprocessing([replace(bright_model(), module=network)])
    assert chosen_precision("auto", groups) in ("32-true", "bf16-mixed")
    assert set(seen) == {torch.float32, torch.bfloat16}


@pytest.mark.parametrize("make", [lambda: FcnVgg16(width=8), lambda: UNet(width=4, depth=3)], ids=["fcn", "unet"])
def test_the_layout_changes_no_mask(make, rng) -> None:
    torch.manual_seed(0)
    network = make().eval()
    images = rng.integers(1, 256, (2, 64, 64)).astype("uint8")
    before = predict_slices(images, replace(bright_model(), module=network), SegmentSettings())
    network.to(memory_format=torch.channels_last)
    after = predict_slices(images, replace(bright_model(), module=network), SegmentSettings())
    assert abs(after - before).max() < 1e-6
