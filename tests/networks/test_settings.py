from __future__ import annotations

import subprocess
import sys

import pytest

from ctseg.errors import SettingError
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.generator import AmdGenerator
from ctseg.networks.resnet_generator import ResnetGenerator
from ctseg.networks.settings import AmdGeneratorSettings, FcnSettings, ResnetGeneratorSettings, UNetSettings
from ctseg.networks.unet import UNet
from ctseg.settings import resolve

SMALL = [
    (AmdGeneratorSettings, AmdGenerator, {"width": 4, "growth": 2, "layers": 1}),
    (ResnetGeneratorSettings, ResnetGenerator, {"width": 4, "blocks": 1}),
    (FcnSettings, FcnVgg16, {"width": 4}),
    (UNetSettings, UNet, {"width": 4, "depth": 2}),
]


@pytest.mark.parametrize(("model", "network", "values"), SMALL, ids=lambda item: getattr(item, "__name__", ""))
def test_settings_are_what_the_constructor_takes(model, network, values) -> None:
    made = network(**resolve(model, values).model_dump())
    again = network(**values)
    assert [p.shape for p in made.parameters()] == [p.shape for p in again.parameters()]


@pytest.mark.parametrize(
    ("model", "values"),
    [(FcnSettings, {"width": 5}), (UNetSettings, {"depth": 0}), (AmdGeneratorSettings, {"width": "wide"})],
)
def test_bounds(model, values) -> None:
    with pytest.raises(SettingError):
        resolve(model, values)


def test_settings_import_no_torch() -> None:
    code = "import sys, ctseg.networks.settings, ctseg.matching.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
