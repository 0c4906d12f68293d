"""One model into one folder in one format, with what other programs have to know and the proof that it is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ctseg.export.bundle import EXAMPLE, INFERENCE, METADATA, NETWORK, WEIGHTS, bundle_runner, write_bundle
from ctseg.export.description import description, readme
from ctseg.export.network import Parity, Run, checked_parity, exported_network
from ctseg.export.onnx_file import onnx_runner, openvino_runner, write_onnx, write_openvino
from ctseg.files import write_json, write_text
from ctseg.inference.models import LoadedModel

DETAILS, README = "ctseg-export.json", "README.md"
ONNX_EXAMPLE = """
    import onnxruntime

    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"images": slices})[0]  # slices: (K, 1, H, W) float32 in [-1, 1]
"""
OPENVINO_EXAMPLE = """
    import sys

    sys.modules["openvino_telemetry"] = None  # else importing OpenVINO sends a message over the network
    import openvino

    network = openvino.Core().compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    logits = network(slices)[0]  # slices: (K, 1, H, W) float32 in [-1, 1]
"""


def export_model(
    model: LoadedModel, target: str, folder: Path, *, sha256: str, about: Mapping[str, Any], known: Mapping[str, Any]
) -> Parity:
    """Write a model for another program and compare both on the same slices.

    Args:
        model: on the CPU or moved there.
        target: one of `TARGETS`.
        folder: empty; a fault leaves files in it.
        sha256: of the model's weights.
        about: `licence`, `training_data` and `limits`.
        known: `metadata.json` of the model's run.

    Raises:
        InputError: if a package is missing, the network cannot be written, or its numbers differ.
    """
    network, size = exported_network(model), model.preprocessing.size
    files, run, example = TARGETS[target](folder, network, model, {**about, "known": known})
    parity = checked_parity(network, run, size, f"--to {target}")
    found = description(model, files, parity, sha256, about)
    write_json(folder / DETAILS, found)
    place = folder / "docs" if target == "monai-bundle" else folder
    write_text(place / README, readme(found, example))
    return parity


Made = tuple[dict[str, str], Run, str]
"""Role -> file, the network as the other program runs it, and an example for the README."""


def _onnx(folder: Path, network: nn.Module, model: LoadedModel, _about: Mapping[str, Any]) -> Made:
    path = folder / "model.onnx"
    write_onnx(path, network, model.preprocessing.size)
    return {"network": path.name}, onnx_runner(path), ONNX_EXAMPLE


def _openvino(folder: Path, network: nn.Module, model: LoadedModel, _about: Mapping[str, Any]) -> Made:
    onnx, path = folder / "model.onnx", folder / "model.xml"
    write_onnx(onnx, network, model.preprocessing.size)
    write_openvino(path, onnx)
    onnx.unlink()
    return {"network": path.name, "weights": "model.bin"}, openvino_runner(path), OPENVINO_EXAMPLE


def _bundle(folder: Path, network: nn.Module, model: LoadedModel, about: Mapping[str, Any]) -> Made:
    write_bundle(folder, network, model, about["known"], about["licence"])
    files = {"network (TorchScript)": NETWORK, "weights": WEIGHTS, "metadata": METADATA, "inference": INFERENCE}
    return files, bundle_runner(folder), EXAMPLE


TARGETS: dict[str, Callable[[Path, nn.Module, LoadedModel, Mapping[str, Any]], Made]] = {
    "onnx": _onnx, "openvino": _openvino, "monai-bundle": _bundle,
}  # fmt: skip
