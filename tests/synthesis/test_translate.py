from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from torch import Tensor, nn

from ctseg.errors import InputError
from ctseg.io.slices import SliceSet, greys_in_words, open_slices
from ctseg.runs import ModelHeader
from ctseg.synthesis.translate import brain_of, translate
from ctseg.synthesis.volumes import translate_nifti
from ctseg.training.device import make_fabric

INTENSITY = {"a": 2.55, "b": 0.0, "unit": "HU"}


class Brighten(nn.Module):
    """Adds 20 grey values everywhere, background too."""

    def to_target(self, images: Tensor) -> Tensor:
        return images + 20 / 127.5


def header(**given: object) -> ModelHeader:
    return ModelHeader("generator", "brighten", {"by": 20}, "tests", "0", **given)  # type: ignore[arg-type]


def test_names_splits_and_masks_stay_and_the_background_is_0(toy: tuple[SliceSet, SliceSet], tmp_path: Path) -> None:
    source, said = toy[0], []
    translate(
        Brighten(), source, tmp_path, header=header(input={"intensity": INTENSITY}), fabric=make_fabric("cpu", "32"),
        batch_size=5, progress=lambda *args: said.append(args),
    )  # fmt: skip
    made = open_slices(tmp_path)
    assert made.table.equals(source.table)
    assert np.array_equal(made.masks, source.masks)
    brain = source.images > 0
    assert np.array_equal(made.images[brain], np.minimum(source.images[brain].astype(int) + 20, 255))
    assert not made.images[~brain].any()
    assert made.domain == "ct"
    assert made.info["pseudo"] is True
    assert made.info["intensity"] == INTENSITY
    assert said == [(5, 12, ""), (10, 12, ""), (12, 12, "")]


def test_an_unlabelled_source_gives_an_unlabelled_set(toy: tuple[SliceSet, SliceSet], tmp_path: Path) -> None:
    source = SliceSet(toy[0].folder, toy[0].images, None, toy[0].table, toy[0].info)
    given = header(input={"intensity": INTENSITY})
    translate(Brighten(), source, tmp_path, header=given, fabric=make_fabric("cpu", "32"))
    assert open_slices(tmp_path).masks is None


class Spoilt(Brighten):
    """One pixel is no number."""

    def to_target(self, images: Tensor) -> Tensor:
        made = super().to_target(images)
        made[-1, 0, 5, 7] = float("nan")
        return made


def test_what_is_no_number_does_not_become_black(toy: tuple[SliceSet, SliceSet], tmp_path: Path) -> None:
    given = header(input={"intensity": INTENSITY})
    with pytest.raises(InputError, match="Spoilt: gives values that are no numbers"):
        translate(Spoilt(), toy[0], tmp_path, header=given, fabric=make_fabric("cpu", "32"))


def test_a_model_that_does_not_know_its_ct_is_an_error(toy: tuple[SliceSet, SliceSet], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train it again"):
        translate(Brighten(), toy[0], tmp_path, header=header(), fabric=make_fabric("cpu", "32"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("brain_hu", "said"), [(None, ""), (31.0, "HU of heads whose median brain is moved to 31 HU")])
def test_volumes_and_sets_say_what_their_hu_are_relative_to(toy, tmp_path: Path, brain_hu, said) -> None:
    source = SliceSet(toy[0].folder, toy[0].images, None, toy[0].table, {**toy[0].info, "settings": {"fov_mm": 240.0}})
    given = header(input={"intensity": INTENSITY, "preprocess": {"brain_hu": brain_hu}})
    options = {"header": given, "fabric": make_fabric("cpu", "32")}
    translate_nifti(Brighten(), source, tmp_path, **options)
    assert {str(nib.load(file).header["descrip"].astype(str)) for file in tmp_path.iterdir()} == {said}
    (tmp_path / "set").mkdir()
    translate(Brighten(), source, tmp_path / "set", **options)
    made = open_slices(tmp_path / "set").info
    assert made["intensity"].get("brain_hu") == brain_hu
    assert ("relative" in greys_in_words(made["intensity"], made["settings"])) == bool(said)


def test_dark_ventricles_belong_to_the_brain() -> None:
    images = np.zeros((1, 9, 9), np.uint8)
    images[0, 1:8, 1:8] = 100
    images[0, 4, 4] = 0
    expected = np.zeros((1, 9, 9), bool)
    expected[0, 1:8, 1:8] = True
    assert np.array_equal(brain_of(images), expected)
