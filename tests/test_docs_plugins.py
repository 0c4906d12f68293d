"""Every code block of docs/plugins.md is run: files are written, commands run, signatures compared."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctseg.conformance.toys import toy_pairs, toy_slices, volume_of
from ctseg.io.nifti.volumes import save_mask
from ctseg.io.slice_writer import write_slices
from ctseg.plugins import hookspecs
from ctseg.plugins import host as plugins
from ctseg.runs import ModelHeader
from ctseg.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
BLOCK = re.compile(r"(?:^`(?P<path>[\w./-]+)`\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
WALKS = (
    "Walk 1: a similarity metric", "Walk 2: a metric", "Walk 3: a generator", "Walk 4: a segmenter",
    "Walk 5: a command", "Walk 6: a brain extractor", "Walk 7: a model",
)  # fmt: skip
VOLUMES = "case,status,ml\nPb4e0bb2e02_281e04,ok,148.3\nx,failed,\nPf24e4880f1_ae4a85,ok,112.51\ny,ok,3.2\n"


@dataclass(frozen=True)
class Block:
    path: str | None
    language: str
    text: str


def blocks(heading: str) -> list[Block]:
    """The blocks between a `##` heading and the next."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(heading))
    return [Block(*found.group("path", "language", "text")) for found in BLOCK.finditer(text)]


def slice_set(folder: Path, domain: str) -> None:
    """Eight 40 x 40 slices of two patients, as `ctseg preprocess` leaves them."""
    images, masks = toy_slices(domain, 8, (40, 40))
    patients = [row // 4 for row in range(8)]
    table = pd.DataFrame(
        {
            "slice_id": [f"{domain}{row}" for row in range(8)],
            "patient_id": [f"p{patient}" for patient in patients],
            "series_id": [f"s{patient}" for patient in patients],
            "index": [row % 4 for row in range(8)],
            "z_mm": [5.0 * (row % 4) for row in range(8)],
            "spacing_row_mm": 1.0,
            "spacing_col_mm": 1.0,
            "brain_px": (images > 0).sum(axis=(1, 2)),
            "lesion_px": masks.sum(axis=(1, 2)),
            "split": ["train" if patient == 0 else "val" for patient in patients],
        }
    )
    folder.mkdir(parents=True)
    intensity = {"a": 2.55, "b": 0.0, "unit": "HU" if domain == "ct" else "percentile"}
    labels = masks if domain == "mr" else None
    write_slices(folder, domain=domain, images=images, masks=labels, table=table, intensity=intensity, settings={})


def write_heads(folder: Path) -> None:
    """Two balls of brain, 140 mm wide, in skulls, as NIfTI in HU."""
    folder.mkdir()
    radius = np.linalg.norm((np.indices((64, 64, 32)) - np.array([32, 32, 16])[:, None, None, None]) * 3.0, axis=0)
    noise = np.random.default_rng(0).normal(0, 4, radius.shape)
    hu = (np.where(radius < 70, 35, np.where(radius < 78, 900, -1000)) + noise).astype(np.int16)
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(hu, np.diag([3.0, 3.0, 3.0, 1.0])), folder / f"{name}.nii.gz")


class Reader:
    """Does what a reader of the page does, in a folder; packages are installed without pip."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sources = folder, list[str]()
        slice_set(folder / "sets" / "mr", "mr")
        slice_set(folder / "sets" / "ct", "ct")
        (folder / "segmentation").mkdir()
        (folder / "segmentation" / "volumes.csv").write_text(VOLUMES)
        for name, pair in toy_pairs().items():
            for kind, mask in (("masks", pair.pred), ("truth", pair.ref)):
                save_mask(folder / kind / f"{name.replace(' ', '-')}.nii.gz", volume_of(mask, 0.5, 5.0), mask)

    def follow(self, block: Block) -> None:
        if block.language == "console":
            for command, shown in commands(block.text):
                self.call(command, shown)
        else:
            assert block.path is not None, block.text
            path = self.folder / block.path
            assert path.exists(), f"{path.name} is not in the package that `plugins new` made"
            path.write_text(block.text)

    def call(self, command: list[str], shown: list[str]) -> None:
        if command[:3] == ["pip", "install", "-e"]:
            self.install(self.folder / command[3])
            return
        if command[0] == "head":
            assert [(self.folder / command[2]).read_text()[: len(line)] for line in shown] == shown
            return
        if command[0] == "sed":
            subprocess.run(command, cwd=self.folder, check=True)
            return
        if command[0] == "cp":
            shutil.copy(self.folder / command[1], self.folder / command[2])
            return
        module = {"ctseg": "ctseg", "pytest": "pytest"}[command[0]]
        found = [*self.sources, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(found), "OMP_NUM_THREADS": "1"}
        environment |= {"COLUMNS": "200", "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", module, *command[1:]], cwd=self.folder, capture_output=True, text=True, timeout=300,
            env=environment,
        )  # fmt: skip
        output = done.stdout + done.stderr
        expected = 2 if any(line.startswith("ctseg: error") for line in shown) else 0
        assert done.returncode == expected, f"{shlex.join(command)}\n{output}"
        for line in shown:
            assert line in output, f"{shlex.join(command)}\n{output}"

    def install(self, package: Path) -> None:
        source, module = package / "src", package.name.replace("-", "_")
        info = source / f"{module}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.name}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[ctseg]\nplugin = {module}\n")
        self.sources.append(str(source))


def commands(text: str) -> list[tuple[list[str], list[str]]]:
    """Each `$ command` with the lines shown below it."""
    found: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((shlex.split(line[2:]), []))
        else:
            found[-1][1].append(line)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("walk", WALKS)
def test_the_walk_leads_to_a_plugin_that_works(tmp_path: Path, walk: str) -> None:
    reader = Reader(tmp_path)
    if walk in WALKS[5:7]:
        write_heads(tmp_path / "heads")
    if walk in WALKS[2:4]:
        reader.call(shlex.split("ctseg match --src sets/mr --tgt sets/ct -o pairs.csv"), [])
    for block in blocks(walk):
        reader.follow(block)


def defined(block: Block) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(block.text, str(PAGE), "exec"), names)  # noqa: S102 - the page is ours
    return {name: item for name, item in names.items() if inspect.isfunction(item)}


def signature(function: Any) -> inspect.Signature:
    """With its annotations as types; those that a module imports for type checkers alone are given here."""
    return inspect.signature(function, eval_str=True, locals={"Settings": Settings, "ModelHeader": ModelHeader})


def test_hooks_stand_on_the_page_with_their_exact_signatures() -> None:
    hooks = {name: item for name, item in vars(hookspecs).items() if name.startswith("ctseg_")}
    shown = defined(blocks("The hooks")[0])
    assert {name: signature(item) for name, item in shown.items()} == {
        name: signature(item) for name, item in hooks.items()
    }
    assert set(plugins.HOOKS.values()) | {"ctseg_register_commands"} == set(hooks)


def test_register_stands_on_the_page_with_its_exact_signature() -> None:
    shown = defined(blocks("The hooks")[1])["register"]
    real = plugins._registrar(plugins.Registry(), "similarity_metric", "package", "1.0")
    assert signature(shown) == signature(real)


def test_the_optional_parts_of_the_protocols_stand_on_the_page() -> None:
    source = (Path(plugins.__file__).parent / "protocols.py").read_text().partition("class Batch")[0]
    optional = re.findall(r"^    #   (\w+)[(:]", source, re.MULTILINE)
    assert {"symmetric", "nearest", "parts", "features", "objective", "translate"} <= set(optional)
    table = PAGE.read_text().partition("## The hooks")[2]
    assert [name for name in optional if f"`{name}" not in table] == []


@pytest.mark.slow
def test_conformance_in_three_lines(tmp_path: Path) -> None:
    several, whole = blocks("The checks")
    tests = several.text.replace('"dilated"', '"unet"').replace('{"width": 4}', '{"width": 4, "depth": 2}')
    (tmp_path / "test_several.py").write_text(tests)
    (tmp_path / "test_whole.py").write_text(whole.text.replace('"profile"', '"phash"'))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "CTSEG_DISABLE_PLUGINS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "16 passed" in done.stdout


def test_no_block_is_left_out() -> None:
    everything = BLOCK.findall(PAGE.read_text())
    run = sum(len(blocks(heading)) for heading in (*WALKS, "The hooks", "The checks"))
    assert len(everything) == run == PAGE.read_text().count("```") / 2
