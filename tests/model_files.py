"""Tiny models with cards, as they ship, for the tests of every place a model can come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ctseg.io.input_digests import file_sha256
from ctseg.models.card_files import CARD_SCHEMA
from ctseg.networks.unet import UNet
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

SIZE = 32


def header(**changes: Any) -> ModelHeader:
    """Of a U-Net of four channels that was trained on two sets."""
    made = PreprocessSettings(size=SIZE, fov_mm=240.0).model_dump(mode="json")
    fields: dict[str, Any] = {
        "kind": "segmenter", "name": "unet", "settings": {"width": 4, "depth": 1}, "package": "ctseg",
        "package_version": "0.1.0", "input": {"preprocess": made, "intensity": {}},
        "training": {
            "command": "das-train", "preset": "smoke", "seed": 3, "selection": "last", "epochs": 1,
            "data": {"source": {"folder": "pseudo", "slices": 8, "patients": 4, "slices_with_lesion": 8}},
        },
    }  # fmt: skip
    return ModelHeader(**{**fields, **changes})


def weights(path: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny segmenter."""
    torch.manual_seed(seed)
    return save_model(path, UNet(width=4, depth=1), header(**changes))


def card_of(path: Path, **changes: Any) -> dict[str, Any]:
    """What a card of those weights says."""
    return {
        "schema": CARD_SCHEMA,
        "summary": "Segments haemorrhage, for tests",
        "sha256": file_sha256(path),
        "licence": "CC0-1.0",
        "made": {"command": "ctseg reproduce tiny", "machine": "two cores", "seconds": 61, "seeds": [3]},
        "training_data": [{"name": "phantom", "licence": "Apache-2.0", "use": "images and labels"}],
        "ct_labels": False,
        "measured": [{"data": "phantom heads", "metric": "Dice", "value": 0.8, "low": 0.7, "high": 0.9, "cases": 12}],
        "limits": ["finds nothing"],
        **changes,
    }


def ship(folder: Path, name: str = "default", seed: int = 0, **changes: Any) -> Path:
    """`NAME.safetensors` and `NAME.json` in a folder; returns the weights' path."""
    from ctseg.files import write_json

    path = weights(folder / f"{name}.safetensors", seed)
    write_json(folder / f"{name}.json", card_of(path, **changes))
    return path
