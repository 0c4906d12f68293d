"""Contact sheets of augmentations, and the page that shows them."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import Tensor

from ctseg.augment.brightness import BrightnessFactor
from ctseg.augment.examples import SHOWN, choose_examples, contact_sheet, main, write_examples
from ctseg.augment.pipeline import AugmentationRanges
from ctseg.errors import InputError
from ctseg.io.slices import SliceSet
from ctseg.networks.intensity import to_images, to_masks
from ctseg.training import presets
from ctseg.training.settings import AdaptationSettings

PAGE = Path(__file__).parents[2] / "docs" / "augmentation.md"


def heads(count: int = 3, side: int = 48) -> tuple[Tensor, Tensor]:
    rows, columns = np.mgrid[:side, :side]
    brain = (rows - 24) ** 2 + (columns - 24) ** 2 < 20**2
    lesion = (rows - 20) ** 2 + (columns - 28) ** 2 < 6**2
    images = np.where(brain, np.where(lesion, 120, 80), 0).astype(np.uint8)[None].repeat(count, 0)
    return to_images(images), to_masks(lesion.astype(np.uint8)[None].repeat(count, 0))


def test_a_sheet_has_a_row_for_each_slice_and_a_column_for_each_example(tmp_path: Path) -> None:
    images, masks = heads(2)
    examples = {
        "as it is": lambda images, masks: (images, masks),
        "half": BrightnessFactor(np.array([0.5, 0.5])).apply,
    }
    sheet = np.asarray(Image.open(contact_sheet(tmp_path / "sheet.png", images, masks, examples)))
    middle = sheet.shape[1] // 2
    brain, darker = ((sheet == grey).all(-1) for grey in (80, 40))
    brain_pixels = 4 * 4 * int((images[:, 0] == images[0, 0, 24, 10]).sum())  # enlarged four times
    assert 0.8 * brain_pixels < brain[:, :middle].sum() <= brain_pixels
    assert 0.8 * brain_pixels < darker[:, middle:].sum() <= brain_pixels
    assert not brain[:, middle:].any()
    assert not darker[:, :middle].any()
    assert (np.abs(sheet.astype(int) - [255, 127, 14]).sum(-1) < 30).any()  # the mask's outline


@pytest.mark.slow
def test_the_examples_of_the_page_are_written_and_repeat(tmp_path: Path) -> None:
    first = write_examples(tmp_path / "a", *heads())
    second = write_examples(tmp_path / "b", *heads())
    assert [path.name for path in first] == ["augmentation-grey.png", "augmentation-painted.png"]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))


def slice_set(images: np.ndarray, masks: np.ndarray | None) -> SliceSet:
    table = pd.DataFrame({"patient_id": [f"p{place // 10}" for place in range(len(images))]})
    return SliceSet(Path("toy"), images, masks, table, {})


def test_lesions_lie_over_target_slices_within_the_brain() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((40, 32, 32), np.uint8)
    images[:, 8:24, 8:24] = 80
    masks = np.zeros_like(images)
    for mask, side in zip(masks, rng.integers(2, 8, 40), strict=True):
        mask[20 : 20 + side, 12 : 12 + side] = 1
    images[[3, 14, 25], 7] = images[3, 8]  # the largest brain of each patient
    chosen, lesions = choose_examples(slice_set(images, masks), slice_set(images, None))
    assert chosen.shape == lesions.shape == (SHOWN, 1, 32, 32)
    assert lesions.flatten(1).any(1).all()
    assert (chosen[lesions > 0] > -1).all()
    assert (chosen[:, 0, 7, 8:24] > -1).all()
    hu = (chosen + 1) * 50
    assert hu[lesions > 0].mean() - hu[(lesions == 0) & (chosen > -1)].mean() == pytest.approx(8, abs=0.1)
    with pytest.raises(InputError, match="examples show lesions"):
        choose_examples(slice_set(images, None), slice_set(images, None))


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        main([str(tmp_path), "--source", str(tmp_path / "nowhere"), "--target", str(tmp_path / "nowhere")])


def test_every_setting_is_on_the_page_with_the_values_of_the_presets() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    page = {row[0].strip().strip("`"): [cell.strip() for cell in row] for row in rows}
    assert {item.name for item in fields(AugmentationRanges)} <= set(page)
    for name, cells in page.items():
        columns = ("paper", "default", "plus") if len(cells) == 7 else ("plus",)
        for preset, text in zip(columns, cells[3:], strict=False):
            for setting, value in zip(name.split("`, `"), text.split(", "), strict=True):
                expected = presets.ADAPTATION[preset].get(setting, AdaptationSettings.model_fields[setting].default)
                assert float(value) == expected, (setting, preset)
    for preset in ("released", "demo", "smoke"):
        assert presets.ADAPTATION[preset]["brightness"] == presets.ADAPTATION["paper"]["brightness"] == 0.2


def test_the_snippet_of_the_page_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text()
    code = text.split("```python\n")[1].split("```")[0]
    shown = text.split("```python\n")[1].split("```\n")[1].split("Background stays")[0]
    images, masks = heads(2)
    exec(code, {"images": images, "masks": masks})  # noqa: S102 - the page's own lines
    assert ast.literal_eval(capsys.readouterr().out.strip()) == ast.literal_eval(shown.strip())
