"""MONAI bundles: network, metadata and the configuration with which MONAI's own evaluator segments scans.

The network is TorchScript, so that a program can run it without ctseg. Brain extraction and the way back to the scan's
own pixels are transforms of the package `ctseg-monai`, which the bundle's configuration names.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ctseg.errors import InputError, first_line
from ctseg.export.network import Run, check_slices
from ctseg.export.onnx_file import needs, quiet
from ctseg.files import write_json
from ctseg.inference.models import LoadedModel

META_SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
"""MONAI's schema of `metadata.json`; `monai.bundle verify_metadata` fetches it, ctseg does not."""
NETWORK, WEIGHTS = "models/model.ts", "models/model.pt"
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
EXAMPLE = """
    pip install 'ctseg[monai]' ctseg-monai
    python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json \\
        --bundle_root . --dataset_dir FOLDER_OF_NIFTI --output_dir masks
"""


def write_bundle(folder: Path, network: nn.Module, model: LoadedModel, known: Mapping[str, Any], licence: str) -> None:
    """Write the files of a bundle but for its README.

    Args:
        folder: empty.
        network: logits of slices, on the CPU.
        model: what is exported.
        known: the keys of `metadata.json` that a run has, see `ctseg.cli.model_card.metadata`.
        licence: of the weights.

    Raises:
        InputError: if MONAI is missing or the network cannot be traced.
    """
    needs("monai", "monai")
    for name in ("models", "configs", "docs"):
        (folder / name).mkdir()
    size = model.preprocessing.size
    try:
        with quiet():  # torch says that TorchScript ends; MONAI's bundles are still made of it
            traced = torch.jit.trace(network, torch.from_numpy(check_slices(size, 2)), check_trace=False)
            traced_bytes, weights = io.BytesIO(), io.BytesIO()
            torch.jit.save(traced, traced_bytes)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"this network cannot be written as TorchScript ({reason}); try --to onnx") from None
    torch.save(model.module.state_dict(), weights)
    (folder / NETWORK).write_bytes(traced_bytes.getvalue())  # torch's own writer calls a full disk something else
    (folder / WEIGHTS).write_bytes(weights.getvalue())
    write_json(folder / METADATA, bundle_metadata(model, known, licence))
    write_json(folder / INFERENCE, inference_config(model))


def bundle_metadata(model: LoadedModel, known: Mapping[str, Any], licence: str) -> dict[str, Any]:
    """The content of `metadata.json`: what the run knows, and what MONAI's schema asks for beside it."""
    from importlib.metadata import version

    from ctseg.version import __version__

    formats = {side: dict(tensors) for side, tensors in known["network_data_format"].items()}
    size = model.preprocessing.size
    image = {**formats["inputs"]["image"], "spatial_shape": [size, size]}
    logits = {**formats["outputs"]["pred"], "spatial_shape": [size, size], "value_range": []}
    return {
        "schema": META_SCHEMA,
        **known,
        "changelog": {str(known["version"]): f"exported by ctseg {__version__}"},
        "monai_version": version("monai"),
        "required_packages_version": {
            **known["required_packages_version"], "ctseg": __version__, "pytorch-ignite": version("pytorch-ignite"),
        },
        "authors": "not stated; the README says who made the weights and how",
        "copyright": f"weights: {licence}",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": logits}},
    }  # fmt: skip


def inference_config(model: LoadedModel) -> dict[str, Any]:
    """The content of `inference.json`: the NIfTI scans of a folder through MONAI's `SliceInferer` to masks."""
    made = model.preprocessing
    used = made.model_dump(
        mode="json", include={"size", "fov_mm", "window", "brain_hu", "brain_extractor", "brain_extractor_settings"}
    )
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "scans",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "network_def": {
            "_target_": "torch.jit.load", "f": f"$@bundle_root + '/{NETWORK}'", "map_location": "@device",
        },
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "ctseg_monai.bundle.PrepareHeadCTd", "keys": "image", "preprocessing": used}],
        },
        "dataset": {
            "_target_": "Dataset", "data": "$[{'image': path} for path in @datalist]", "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {
            "_target_": "ctseg_monai.bundle.MirroredInferer" if model.tta else "SliceInferer",
            "roi_size": [made.size, made.size], "spatial_dim": 2, "sw_batch_size": 8,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "ctseg_monai.bundle.SaveHaemorrhaged", "keys": "pred", "output_dir": "@output_dir",
                    "threshold": 0.5, "faint_hu": model.faint_hu, "grow_mm": model.grow_mm,
                },
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
            "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


def bundle_runner(folder: Path) -> Run:
    """The bundle's network in MONAI's `SliceInferer`, on the CPU, after MONAI's own `verify_net_in_out`.

    Raises:
        InputError: if MONAI or a package that its bundles need is missing, or MONAI finds a fault.
    """
    bundle = needs("monai.bundle", "monai")
    for package in ("ignite", "fire", "jsonschema"):
        needs(package, "monai")
    inferers = needs("monai.inferers", "monai")
    try:
        with quiet("monai.bundle.scripts"):
            bundle.verify_net_in_out(
                net_id="network_def", meta_file=str(folder / METADATA), config_file=str(folder / INFERENCE),
                device="cpu", bundle_root=str(folder),
            )  # fmt: skip
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"MONAI's verify_net_in_out refuses the bundle ({first_line(error)}); nothing is written"
        ) from None
    network = torch.jit.load(folder / NETWORK, map_location="cpu")

    def run(images: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        size = images.shape[-1]
        inferer = inferers.SliceInferer(roi_size=(size, size), spatial_dim=2, sw_batch_size=8)
        volume = torch.from_numpy(np.ascontiguousarray(images[:, 0].transpose(1, 2, 0)))[None, None]
        with torch.inference_mode():
            logits = inferer(volume, network)  # (1, 1, H, W, K)
        return np.asarray(logits[0, 0].permute(2, 0, 1)[:, None].numpy(), dtype=np.float32)

    return run
