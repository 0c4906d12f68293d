from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import pandas as pd
import pytest
import torch

from ctseg.errors import InputError
from ctseg.files import read_json
from ctseg.io.slices import SliceSet
from ctseg.networks.unet import UNet
from ctseg.runs import ModelHeader, load_model
from ctseg.segmentation.folds import dice_scores, patient_folds, train_folds
from ctseg.training.device import make_fabric
from ctseg.training.presets import ADAPTATION
from ctseg.training.resolve import resolve_training
from ctseg.training.settings import FinetuneSettings

HEADER = ModelHeader("segmenter", "unet", {"width": 4, "depth": 2}, "ctseg", "0")
MakeSet = Callable[..., SliceSet]


@pytest.fixture(scope="module")
def fabric() -> lightning_fabric.Fabric:
    return make_fabric("cpu", "32")


def unet() -> UNet:
    return UNet(width=4, depth=2)


def test_folds_keep_patients_whole_and_test_every_slice_once(make_set: MakeSet) -> None:
    labelled = make_set("ct", 40, 16, 0)
    fold_of = patient_folds(labelled, 5, seed=3)
    by_patient = labelled.table.assign(fold=fold_of).groupby("patient_id")["fold"]
    assert (by_patient.nunique() == 1).all()
    assert sorted(by_patient.first().value_counts()) == [2, 2, 2, 2, 2]
    assert np.array_equal(fold_of, patient_folds(labelled, 5, seed=3))
    assert not np.array_equal(fold_of, patient_folds(labelled, 5, seed=4))


@pytest.mark.parametrize(
    ("slices", "folds", "words"),
    [
        (40, 1, "10 patients cannot make 1 folds; use --folds 2 to 10$"),
        (40, 11, "10 patients cannot make 11 folds; use --folds 2 to 10$"),
        (8, 5, "2 patients cannot make 5 folds; use --folds 2$"),
        (4, 5, "1 patient cannot make 5 folds; add scans of other patients$"),
    ],
)
def test_folds_need_patients(make_set: MakeSet, slices: int, folds: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        patient_folds(make_set("ct", slices, 16, 0), folds)


def test_three_dice_by_hand() -> None:
    masks, found = np.zeros((2, 3, 2, 2), np.uint8)
    masks[0], masks[1, 0, 0] = 1, 1  # 4 + 1 pixels, none in the third slice
    found[0], found[1, 0, 0], found[1, 1, 1] = (1, 0), 1, 1  # 2 of the 4; the 1 and one too many
    series = np.array(["a", "b", "c"])
    scores = dice_scores(found, masks, series)
    first, second = 2 * 2 / (2 + 4), 2 * 1 / (2 + 1)
    assert scores["pooled"] == pytest.approx(2 * 3 / (4 + 5))
    assert scores["per_volume"] == pytest.approx((first + second) / 2)
    assert scores["per_slice_smooth1"] == pytest.approx((5 / 7 + 3 / 4 + 1) / 3)
    assert (scores["volumes"], scores["slices"]) == (2, 3)


def test_a_missed_volume_counts_zero_and_no_lesion_at_all_has_no_dice() -> None:
    masks = np.zeros((2, 2, 2), np.uint8)
    assert dice_scores(masks, masks, np.array(["a", "b"]))["per_volume"] is None
    assert dice_scores(masks, masks, np.array(["a", "b"]))["pooled"] is None
    masks[0] = 1
    assert dice_scores(np.zeros_like(masks), masks, np.array(["a", "b"]))["per_volume"] == 0.0


def test_every_slice_is_predicted_by_a_network_that_never_saw_its_patient(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctseg.segmentation import train

    labelled, seen = make_set("ct", 16, 32, 0), []
    real = train.source_batch

    def spy(slices: SliceSet, rows: np.ndarray, *rest: Any) -> Any:
        seen[-1].update(slices.table["patient_id"].to_numpy()[rows])
        return real(slices, rows, *rest)

    def start() -> UNet:
        seen.append(set())
        return unet()

    monkeypatch.setattr(train, "source_batch", spy)
    settings = FinetuneSettings(batch_size=4, epochs=1)
    train_folds(labelled, start, settings, tmp_path, fabric=fabric, header=HEADER, folds=2)
    table = pd.read_csv(tmp_path / "folds.csv")
    assert table["slice_id"].tolist() == labelled.slice_ids.tolist()
    tested = [set(table["patient_id"][table["fold"] == fold]) for fold in (1, 2)]
    assert seen == [tested[1], tested[0]]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["smoke", "plus"])
def test_a_run_is_resumed_fold_by_fold(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path, preset: str
) -> None:
    labelled = make_set("ct", 16, 32, 0)
    few = {"batch_size": 4, "epochs": 2, "decay_epochs": 0, "steps_per_epoch": 1, "freeze_batch_norm_from": 1}
    settings = resolve_training(FinetuneSettings, ADAPTATION[preset] | few, {}, "test")

    def train(run: str, **rest: Any) -> dict[str, Any]:
        (tmp_path / run).mkdir(exist_ok=True)
        return train_folds(
            labelled, unet, settings, tmp_path / run, fabric=fabric, header=HEADER, folds=2, seed=5, **rest
        )

    def interrupt(done: int, total: int | None, note: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", progress=interrupt)
    assert not (tmp_path / "stopped" / "summary.json").exists()
    said = []
    resumed = train("stopped", resume=True, progress=lambda done, total, _note: said.append((done, total)))
    assert resumed == whole == read_json(tmp_path / "whole" / "summary.json")
    assert said == [(4, 4)], "the resumed fold counts as whole, so that the time left of the others is right"
    for fold in ("fold_1", "fold_2"):
        one, two = (load_model(tmp_path / run / fold, lambda _: unet(), "segmenter")[0] for run in ("whole", "stopped"))
        assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    assert np.array_equal(*(np.load(tmp_path / run / "masks.npy") for run in ("whole", "stopped")))


@pytest.mark.slow
def test_it_learns_from_labels_and_starts_from_given_weights(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path
) -> None:
    labelled = make_set("ct", 24, 32, 0)
    settings = FinetuneSettings(batch_size=6, epochs=1, steps_per_epoch=120, optimiser="adam", lr=0.01, loss="bce+dice")
    trained = train_folds(labelled, unet, settings, tmp_path, fabric=fabric, header=HEADER, folds=2)
    assert trained["overall"]["pooled"] > 0.6

    def warm() -> Any:
        return load_model(tmp_path / "fold_1", lambda _: unet(), "segmenter")[0]

    still = FinetuneSettings(batch_size=6, epochs=1, steps_per_epoch=1, optimiser="adam", lr=1e-9)
    (tmp_path / "warm").mkdir()
    (tmp_path / "cold").mkdir()
    kept = train_folds(labelled, warm, still, tmp_path / "warm", fabric=fabric, header=HEADER, folds=2)
    cold = train_folds(labelled, unet, still, tmp_path / "cold", fabric=fabric, header=HEADER, folds=2)
    assert kept["overall"]["pooled"] > 0.5 > (cold["overall"]["pooled"] or 0.0)


FLIPS = (lambda image: image, np.fliplr, np.flipud, lambda image: np.flipud(np.fliplr(image)))


def batches_of(
    labelled: SliceSet, fabric: lightning_fabric.Fabric, run: Path, monkeypatch: pytest.MonkeyPatch,
    preset: str, **given: Any,
) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """(image, mask) of each slice that the loss gets, image 0..255."""
    from ctseg.segmentation import train

    real, seen = train.training_step, []

    def spy(training: Any, batch: Any, epoch: int) -> Any:
        images = ((batch.images[:, 0] + 1.0) * 127.5).numpy()
        seen.extend(zip(images, batch.masks[:, 0].numpy(), strict=True))
        return real(training, batch, epoch)

    monkeypatch.setattr(train, "training_step", spy)
    few = {"batch_size": 8, "epochs": 1, "decay_epochs": 0, "steps_per_epoch": 3}
    settings = resolve_training(FinetuneSettings, ADAPTATION[preset], few | given, "finetune")
    train_folds(labelled, unet, settings, run, fabric=fabric, header=HEADER, folds=2)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("preset", ADAPTATION)
def test_no_preset_paints_over_real_lesions_or_labels(
    make_set: MakeSet,
    fabric: lightning_fabric.Fabric,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
) -> None:
    """Without a move, a mask is a flipped original, and grey values are a rising function of the original's."""
    labelled = make_set("ct", 16, 32, 0)
    still = {"rotation_deg": 0.0, "zoom": 0.0, "noise": 0.0, "bias_field": 0.0}
    seen = batches_of(labelled, fabric, tmp_path, monkeypatch, preset, **still)
    assert len(seen) == 48
    for image, mask in seen:
        found = [
            flip(original)
            for original, truth in zip(labelled.images, labelled.masks, strict=True)
            for flip in FLIPS
            if np.array_equal(flip(truth), mask)
        ]
        assert found, "the mask is none of the originals"
        assert any(is_rising(original, image) for original in found)


def is_rising(original: np.ndarray, image: np.ndarray) -> bool:
    """Whether equal greys stay equal, and darker ones are not brighter, up to rounding."""
    order = np.argsort(original, axis=None, kind="stable")
    values, greys = image.ravel()[order], original.ravel()[order]
    same_grey = np.diff(greys) == 0
    return bool((np.diff(values) >= -1e-3).all() and np.allclose(np.diff(values)[same_grey], 0, atol=1e-3))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ADAPTATION)
def test_moves_keep_a_lesion_what_it_is(
    make_set: MakeSet,
    fabric: lightning_fabric.Fabric,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
) -> None:
    """With all of a preset, a lesion has an original's area, within its zoom, and stands out by an original's share.

    Fresh blood painted in, or a label made of its smooth core, would change both.
    """
    labelled = make_set("ct", 16, 32, 0)
    areas, contrasts = zip(*(size_and_contrast(*pair) for pair in zip(labelled.images, labelled.masks, strict=True)),
                           strict=True)  # fmt: skip
    zoom = ADAPTATION[preset].get("zoom", 0.0)
    factor = ADAPTATION[preset].get("brightness", 0.0)
    spread = 1.0 + 2 * ADAPTATION[preset].get("contrast", 0.0)
    for image, mask in batches_of(labelled, fabric, tmp_path, monkeypatch, preset):
        area, contrast = size_and_contrast(image, mask)
        assert min(areas) * (1 - zoom) ** 2 * 0.8 <= area <= max(areas) * (1 + zoom) ** 2 * 1.2
        assert min(contrasts) / spread * (1 - factor) - 12 <= contrast <= max(contrasts) * spread * (1 + factor) + 12


def size_and_contrast(image: np.ndarray, mask: np.ndarray) -> tuple[int, float]:
    """Pixels of the lesion, and how much brighter it is than the rest of the brain."""
    lesion, rest = mask > 0, (image > 0.5) & (mask == 0)
    return int(lesion.sum()), float(np.median(image[lesion]) - np.median(image[rest]))


@pytest.mark.slow
def test_batch_norm_is_frozen_where_the_settings_say_so(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path
) -> None:
    """finetune once recorded `freeze_batch_norm_from` and did not use it."""
    labelled, statistics = make_set("ct", 16, 32, 0), []
    for epochs in (1, 2, 3):
        settings = FinetuneSettings(batch_size=4, epochs=epochs, steps_per_epoch=2, lr=1e-9, freeze_batch_norm_from=1)
        (tmp_path / str(epochs)).mkdir()
        train_folds(labelled, unet, settings, tmp_path / str(epochs), fabric=fabric, header=HEADER, folds=2)
        model, _ = load_model(tmp_path / str(epochs) / "fold_1", lambda _: unet(), "segmenter")
        statistics.append([value for name, value in model.state_dict().items() if "running_mean" in name])
    assert statistics[0]
    for later in statistics[1:]:
        assert all(torch.equal(one, other) for one, other in zip(statistics[0], later, strict=True))
