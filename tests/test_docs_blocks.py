"""Every shell and Python block of the documentation and the README is run, at small sizes, and prints what it shows."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from docs_blocks import RUN, Block, Reader, blocks, commands, plain

from ctseg.conformance.toys import volume_of
from ctseg.io.nifti.volumes import save_mask

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))}
ELSEWHERE = {"docs/plugins.md": "tests/test_docs_plugins.py"}
"""Pages whose blocks have a test of their own."""
NOT_RUN = {
    "README.md": 3, "docs/brain-network.md": 1, "docs/containers.md": 1, "docs/coverage.md": 1, "docs/export.md": 2,
    "docs/known-answers.md": 1, "docs/machines.md": 3, "docs/method-networks.md": 1, "docs/performance-gpu.md": 1,
    "docs/real-data.md": 2, "docs/tutorial.md": 1,
}  # fmt: skip
"""How many blocks of a page are not run; the reason stands above each."""
ALIASES = {
    "scans": "phantom/rsna/stage_2_test", "scan": "phantom/rsna/stage_2_test", "mr": "phantom/Task01_BrainTumour",
    "truth": "phantom/truth/iph/test", "reference": "phantom/truth/iph/test", "masks": "masks/amd-das",
    "Task01_BrainTumour": "phantom/Task01_BrainTumour", "stage_2_train": "phantom/rsna/stage_2_train",
    "stage_2_train.csv": "phantom/rsna/stage_2_train.csv", "runs/a": "runs/amd-das",
    "runs/das": "runs/amd-das",
}  # fmt: skip
TARGET = "--src sets/pseudo-ct --tgt sets/ct --pairs pairs-stage2.csv -o runs/other"
ARGUMENTS = {"das-train": TARGET, "finetune": "--data sets/pseudo-ct -o runs/folds"}


def all_blocks() -> list[Block]:
    return [block for name, page in sorted(PAGES.items()) for block in blocks(page, name)]


def pages_to_run() -> list[str]:
    counted = Counter(block.page for block in all_blocks() if block.language in RUN and not block.not_run)
    return sorted(set(counted) - set(ELSEWHERE))


def add_files(study: Path, folder: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What single pages find in their folder, and the arrays of their Python blocks."""
    brain = nib.load(next((study / "phantom/truth/brain/test").glob("*.nii.gz")))
    inside = np.asarray(brain.get_fdata() > 0)
    hu = np.where(inside, 35.0 + rng.normal(0, 4, brain.shape), -1000.0).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, brain.affine), folder / "scan.nii.gz")
    for participant in ("01", "02"):  # a data set in BIDS layout
        place = folder / "dataset" / f"sub-{participant}" / "ct"
        place.mkdir(parents=True)
        shutil.copy(folder / "scan.nii.gz", place / f"sub-{participant}_ct.nii.gz")
    (folder / "dataset/dataset_description.json").write_text('{"Name": "two heads", "BIDSVersion": "1.10.0"}')
    (folder / "letters").mkdir()
    (folder / "letters" / "to-a-friend.txt").write_text("mine")
    box = np.zeros((4, 16, 16), np.uint8)  # the four scans of docs/evaluation.md
    box[1:3, 4:12, 4:12] = 1
    half, none = box * (np.arange(16) < 8)[None, :, None].astype(np.uint8), box * 0
    for case, ref, pred in (("anna_1", box, box), ("anna_2", box, half), ("ben_1", box, none), ("ben_2", none, none)):
        for place, mask in (("das/truth", ref), ("das/masks", pred)):
            save_mask(folder / place / f"{case}.nii.gz", volume_of(mask, 0.5, 5.0), mask)
    (folder / "patients.csv").write_text("case,patient\nanna_1,anna\nanna_2,anna\nben_1,ben\nben_2,ben\n")
    turned = np.moveaxis(inside, 2, 0)
    return {"voxels": np.where(turned, 35.0, -1000.0) + rng.normal(0, 4, turned.shape), "brain": turned}


@pytest.mark.slow
@pytest.mark.phantom
@pytest.mark.end_to_end
@pytest.mark.parametrize("page", pages_to_run())
def test_the_blocks_of_a_page_do_what_they_show(
    page: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CTSEG_WORKERS", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.delenv("CTSEG_CONFIG", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    images, masks = images_and_masks()
    names = {"images": images, "masks": masks, "__file__": str(tmp_path / "x.py"), "__name__": "page"}
    names |= add_files(study, tmp_path, rng)
    reader = Reader(tmp_path, study, lambda: "".join(capfd.readouterr()), {}, ALIASES, ARGUMENTS, names)
    for block in blocks(PAGES[page], page):
        if (block.language in RUN or block.path) and not block.not_run:
            reader.follow(block)


def images_and_masks() -> tuple[object, object]:
    """Two toy slices as tensors, (2, 1, 48, 48) in [-1, 1] and 0/1."""
    from ctseg.networks.intensity import to_images, to_masks

    grey = np.zeros((2, 48, 48), np.uint8)
    grey[:, 8:40, 8:40], lesion = 80, np.zeros((2, 48, 48), np.uint8)
    lesion[:, 16:24, 20:28] = 1
    return to_images(grey), to_masks(lesion)


def test_blocks_that_are_not_run_are_counted_and_say_why() -> None:
    assert Counter(block.page for block in all_blocks() if block.not_run) == NOT_RUN
    assert all(len(block.not_run) > 15 for block in all_blocks() if block.not_run)
    assert set(ELSEWHERE) <= set(PAGES)


def test_no_command_hides_in_an_indented_block() -> None:
    """Markdown takes lines that are indented by four for code, too; a test would not find their end."""
    word = re.compile(r"^ {4}(?:\$ |ctseg |make |pip |python |import |from \w+ import)")
    for name, page in PAGES.items():
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        assert [line for line in text.splitlines() if word.match(line)] == [], name


def test_a_block_is_taken_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n<!-- not run: for a reason of some length -->\n```sh\nmake x\n```\n\n`a/b.toml`\n\n"
        "```toml\nx = 1\n```\n\n"
        "```console\n$ ctseg a \\\n    --b\nDone: 3 in 1 min 09 s\n$ ctseg c\n```\n"
    )
    first, second, third = blocks(page, "page.md")
    assert (first.language, first.not_run, first.line) == ("sh", "for a reason of some length", 4)
    assert (second.path, second.text, second.not_run) == ("a/b.toml", "x = 1\n", "")
    assert [(" ".join(command.split()), shown) for command, shown in commands(third)] == [
        ("ctseg a --b", ["Done: 3 in 1 min 09 s"]), ("ctseg c", []),
    ]  # fmt: skip


def test_what_differs_between_runs_is_left_out() -> None:
    assert plain("P14c4db15d2_f7045f: tilted by 17.7 degrees\nin 1 min 09 s") == "CASE: tilted by # degrees in TIME"
    assert plain("BRATS_001_060,ID_96397e8be,1,1918.75") == "BRATS_#_#,SLICE,#,#"
