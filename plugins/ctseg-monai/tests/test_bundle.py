"""A bundle of `ctseg export` passes MONAI's own checks and, in MONAI's evaluator, makes the mask of `ctseg segment`."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ctseg_monai.bundle import SaveHaemorrhaged
from monai import bundle

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.errors import InputError
from ctseg.files import write_json
from ctseg.models.card import CARD_SCHEMA
from ctseg.networks.unet import UNet
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

WEIGHTS = "mine/blobs.safetensors"

for package in ("ignite", "jsonschema"):
    pytest.importorskip(package)

REQUIRED = (
    "schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
    "description", "authors", "copyright", "network_data_format",
)  # fmt: skip
"""What MONAI's bundle specification asks of `metadata.json`."""


def write_card(weights: Path, stated: dict[str, Any]) -> None:
    """A card beside the weights that says what `segment` does after the network."""
    card = {
        "schema": CARD_SCHEMA, "summary": "x", "sha256": sha256(weights.read_bytes()).hexdigest(),
        "licence": "CC0-1.0", "ct_labels": False, "made": {"command": "x", "machine": "x"},
        "training_data": [{"name": "x", "licence": "CC0-1.0"}], "measured": [], "limits": ["x"], **stated,
    }  # fmt: skip
    write_json(weights.with_suffix(".json"), card)


@pytest.fixture(scope="module", params=[{}, {"tta": True, "faint_hu": 3, "grow_mm": 4}], ids=["plain", "by its card"])
def exported(tmp_path_factory, request) -> Path:
    """A folder with an untrained network, its bundle, and a stripped head with bright blobs."""
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(1)
    made = PreprocessSettings(size=32, fov_mm=160.0).model_dump(mode="json")
    settings = {"width": 4, "depth": 2}
    header = ModelHeader("segmenter", "unet", settings, "ctseg", "0.1.0", {"preprocess": made, "size": [32, 32]})
    weights = save_model(folder / WEIGHTS, UNet(**settings), header)
    if request.param:
        write_card(weights, request.param)
    common.STATE = common.State()
    assert main(["export", str(weights), "--to", "monai-bundle", "-o", str(folder / "out")]) == 0
    rows, cols, height = np.mgrid[:64, :64, :30] - np.array([31.5, 31.5, 14.5])[:, None, None, None]
    inside = (rows / 26) ** 2 + (cols / 20) ** 2 + (height / 14) ** 2 < 1
    hu = np.where(inside, np.random.default_rng(0).normal(40, 12, inside.shape), -1000)
    (folder / "scans").mkdir()
    nib.save(nib.Nifti1Image(hu.astype(np.int16), np.diag([-2.5, -2.5, 5.0, 1.0])), folder / "scans" / "head.nii.gz")
    return folder


def test_metadata_and_network_pass_monais_checks(exported: Path, tmp_path: Path) -> None:
    meta = str(exported / "out" / "configs" / "metadata.json")
    schema = os.environ.get("CTSEG_MONAI_SCHEMA")  # MONAI's own, which is fetched from the web
    if schema is None:
        schema = str(tmp_path / "schema.json")
        Path(schema).write_text(json.dumps({"type": "object", "required": REQUIRED}))
    bundle.verify_metadata(meta_file=meta, filepath=schema)
    config = str(exported / "out" / "configs" / "inference.json")
    bundle.verify_net_in_out(
        "network_def", meta_file=meta, config_file=config, device="cpu", bundle_root=str(exported / "out")
    )
    with pytest.raises(ValueError, match="channel number"):
        bundle.verify_net_in_out(
            "network_def", meta_file=meta, config_file=config, device="cpu", bundle_root=str(exported / "out"),
            **{"_meta_#network_data_format#outputs#pred#num_channels": 2},
        )  # fmt: skip


def test_monais_evaluator_makes_the_mask_of_segment(exported: Path) -> None:
    root = exported / "out"
    bundle.run(
        config_file=str(root / "configs" / "inference.json"), meta_file=str(root / "configs" / "metadata.json"),
        bundle_root=str(root), dataset_dir=str(exported / "scans"), output_dir=str(exported / "masks"),
    )  # fmt: skip
    scan, run = str(exported / "scans"), str(exported / WEIGHTS)
    assert main(["segment", scan, "--model", run, "-o", str(exported / "own"), "--set", "preview=false"]) == 0
    theirs, own = (nib.load(exported / name / "head.nii.gz") for name in ("masks", "own"))
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), np.asarray(own.dataobj))
    np.testing.assert_array_equal(theirs.affine, own.affine)
    assert 0 < np.asarray(own.dataobj).mean() < 1


def test_no_mask_replaces_a_scan_or_the_mask_of_another(tmp_path: Path) -> None:
    for place in ("scans", "more"):
        (tmp_path / place).mkdir()
        voxels = np.random.default_rng(0).normal(40, 12, (64, 64, 4)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([-2.5, -2.5, 5.0, 1.0])), tmp_path / place / "head_ct.nii.gz")
    before = (tmp_path / "scans/head_ct.nii.gz").read_bytes()

    def save(transform: SaveHaemorrhaged, place: str) -> str:
        scan = {"path": str(tmp_path / place / "head_ct.nii.gz"), "frame": torch.tensor([0.0, 2.0, 0.0, 2.0])}
        return str(transform({**scan, "pred": torch.zeros(1, 32, 32, 4), "brain": torch.zeros(4, 64, 64)})["pred"])

    (tmp_path / "link").symlink_to("scans")
    for folder in ("scans", "link", "more/../scans"):
        with pytest.raises(InputError, match="holds the scans, which masks would replace"):
            save(SaveHaemorrhaged("pred", str(tmp_path / folder)), "scans")
    assert (tmp_path / "scans/head_ct.nii.gz").read_bytes() == before
    transform = SaveHaemorrhaged("pred", str(tmp_path / "masks"))
    assert Path(save(transform, "scans")).is_file()
    assert save(transform, "scans") == str(tmp_path / "masks/head_ct.nii.gz")
    with pytest.raises(InputError, match=r"more/head_ct\.nii\.gz: the mask of .*scans/head_ct\.nii\.gz has its name"):
        save(transform, "more")
