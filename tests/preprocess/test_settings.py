from __future__ import annotations

import pytest

from ctseg.errors import SettingError
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.settings import resolve


def test_defaults_are_the_papers():
    settings = PreprocessSettings()
    assert (settings.size, settings.pixel_mm, settings.window) == (240, 1.0, (0.0, 100.0))
    assert settings.fractions() == {"train": 0.8, "val": 0.2}


def test_they_survive_json():
    settings = PreprocessSettings(slices=(60, 100), select="intraparenchymal", split=(0.7, 0.2, 0.1))
    assert PreprocessSettings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 8),
        ("fov_mm", 0),
        ("window", (100, 0)),
        ("percentiles", (50, 200)),
        ("slices", (10, 10)),
        ("split", (0.5, 0.4)),
        ("split", (0.25, 0.25, 0.25, 0.25)),
        ("windows", (0, 80)),
    ],
)
def test_bad_values_are_one_line(key, value):
    with pytest.raises(SettingError, match=key[:5]) as error:
        resolve(PreprocessSettings, {key: value})
    assert "\n" not in str(error.value)
