from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import pytest
import torch

from ctseg.errors import InputError, SettingError
from ctseg.io.slices import SliceSet
from ctseg.matching.pairs import PairTable
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.unet import UNet
from ctseg.runs import ModelHeader, load_model, read_header, read_metrics
from ctseg.segmentation.folds import check_folds
from ctseg.segmentation.train import _training_rows, check_adaptation, make_sampler, matched_rows, train_adaptation
from ctseg.selection.validation import choose_validation
from ctseg.training.device import make_fabric
from ctseg.training.presets import ADAPTATION
from ctseg.training.settings import AdaptationSettings, FinetuneSettings

HEADER = ModelHeader("segmenter", "unet", {"width": 4, "depth": 2}, "ctseg", "0", training={"seed": 0})
TINY: dict[str, Any] = {
    "batch_size": 2,
    "epochs": 3,
    "steps_per_epoch": 2,
    "discriminator_width": 2,
    "matched": False,
    "sample_every": 100,
}
MakeSet = Callable[..., SliceSet]


@pytest.fixture(scope="module")
def fabric() -> lightning_fabric.Fabric:
    return make_fabric("cpu", "32")


def tiny_net() -> UNet:
    torch.manual_seed(0)
    return UNet(width=4, depth=2)


def sets(make_set: MakeSet) -> tuple[SliceSet, SliceSet]:
    return make_set("mr", 16, 32, 1), make_set("ct", 16, 32, 2, labelled=False)


class Forbidden:
    """Masks that must not be looked at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"target masks were read ({name})")

    def __getitem__(self, rows: Any) -> Any:
        raise AssertionError("target masks were read")

    def __len__(self) -> int:
        raise AssertionError("target masks were read")


class Counting:
    """Images that count how often they are read."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape, self.reads = images, images.shape, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> np.ndarray:
        self.reads += 1
        return self.images[rows]


@pytest.mark.slow
def test_a_run_leaves_what_it_should(make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    net = tiny_net()
    summary = train_adaptation(
        *sets(make_set), None, net, AdaptationSettings(**TINY | {"sample_every": 2}), tmp_path,
        fabric=fabric, header=HEADER, progress=lambda done, total, note: told.append((done, total)),
    )  # fmt: skip
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        "checkpoint.pt", "metrics.jsonl", "curves.png", "model.safetensors", "epoch_0002.png", "epoch_0003.png",
    }  # fmt: skip
    assert told == [(step, 6) for step in range(1, 7)]
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [0, 1, 2]
    assert (summary["epochs"], summary["steps"], summary["selected_epoch"]) == (3, 6, 3)
    header = read_header(tmp_path)
    assert header.training["selection"] == "last"
    assert header.training["seed"] == 0
    back, _ = load_model(tmp_path, lambda _: UNet(width=4, depth=2), "segmenter")
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in back.state_dict().items())


@pytest.mark.slow
def test_target_masks_are_never_touched(make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path) -> None:
    source, target = sets(make_set)
    guarded = SliceSet(target.folder, target.images, Forbidden(), target.table, target.info)  # type: ignore[arg-type]
    settings = AdaptationSettings(**TINY | {"sample_every": 1, "selection": "tta_consistency"})
    train_adaptation(source, guarded, None, tiny_net(), settings, tmp_path, fabric=fabric, header=HEADER)
    with pytest.raises(AssertionError, match="target masks"):
        guarded.require_masks("the guard works")[0]


@pytest.mark.slow
def test_without_an_adversary_no_step_reads_the_target(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path
) -> None:
    reads = []
    for weight in (0.0, 0.001):
        source, target = sets(make_set)
        images = Counting(target.images)
        counted = SliceSet(target.folder, images, None, target.table, target.info)  # type: ignore[arg-type]
        settings = AdaptationSettings(**TINY | {"lambda_adv": weight, "validate_every": 3})
        run = tmp_path / str(weight)
        train_adaptation(source, counted, None, tiny_net(), settings, run, fabric=fabric, header=HEADER)
        reads.append(images.reads)
    assert reads[1] == reads[0] + 6


BEYOND = {
    "lambda_consistency": 1.0, "consistency_from": 1, "pseudo_label_confidence": 0.5, "mask_patch": 4,
    "lambda_adv_output": 0.01,
    "contrast": 0.2, "noise": 0.1, "rotation_deg": 10.0, "zoom": 0.1, "distractors": 0.5, "loss": "bce+dice+slice-dice",
    "synthetic_haemorrhage": 0.5, "recalibrate_batch_norm": 2, "freeze_batch_norm_from": 1, "copy_paste": 0.5,
    "bias_field": 0.1,
}  # fmt: skip
"""Everything that the paper does not have."""
PLUS_TINY = {
    **{name: value for name, value in ADAPTATION["plus"].items() if not name.startswith("segmenter")}, **TINY,
    "decay_epochs": 0, "select_from": 1, "consistency_from": 1, "freeze_batch_norm_from": 1,
    "pseudo_label_confidence": 0.5,
}  # fmt: skip
"""The preset `plus`, all of it within three epochs."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "taken"), [(1, [False, True, False]), (2, [False, False, True]), (9, [False, False, True])]
)
def test_no_epoch_before_the_first_allowed_is_chosen(
    make_set: MakeSet,
    fabric: lightning_fabric.Fabric,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    taken: list[bool],
) -> None:
    from ctseg.segmentation import after_epoch
    from ctseg.selection import rules as selection

    scores = iter([0.9, 0.5, 0.1])
    monkeypatch.setattr(
        after_epoch, "score_all", lambda _: {**dict.fromkeys(selection.RULES), "tta_consistency": next(scores)}
    )
    settings = AdaptationSettings(**TINY | {"selection": "tta_consistency", "select_from": start})
    summary = train_adaptation(*sets(make_set), None, tiny_net(), settings, tmp_path, fabric=fabric, header=HEADER)
    rows = read_metrics(tmp_path)
    assert [row["chosen"] for row in rows] == taken
    assert [row["val_tta_consistency"] for row in rows] == [0.9, 0.5, 0.1]
    assert summary["selected_epoch"] == taken.index(True) + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"selection": "last", "optimiser": "sgd"},
        {"selection": "source_val", "optimiser": "adam"},
        BEYOND,
        PLUS_TINY,
        {"weight_average": 0.9, "recalibrate_batch_norm": 2, "lambda_adv": 0.01},
    ],
    ids=["sgd", "adam", "beyond", "plus", "averaged"],
)
def test_a_resumed_run_is_bit_equal(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path, changed: dict[str, Any]
) -> None:
    settings = AdaptationSettings(**TINY | {"lr": 0.01} | changed)

    def train(run: Path, **rest: Any) -> dict[str, Any]:
        run.mkdir(exist_ok=True)
        source = make_set("ct" if settings.synthetic_haemorrhage else "mr", 16, 32, 1)
        return train_adaptation(
            source, sets(make_set)[1], None, tiny_net(), settings, run, fabric=fabric, header=HEADER, seed=7, **rest
        )

    def interrupt(done: int, total: int | None, note: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", progress=interrupt)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    assert train(tmp_path / "stopped", resume=True) == whole
    one, two = (load_model(tmp_path / run, lambda _: UNet(4, 2), "segmenter")[0] for run in ("whole", "stopped"))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    rows = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in read_metrics(tmp_path / run)]
        for run in ("whole", "stopped")
    ]
    assert rows[0] == rows[1]
    states = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "stopped")]
    for part in states[0]["training"]["modules"]:
        first, second = (state["training"]["modules"][part] for state in states)
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_consistency_starts_in_its_epoch_and_the_teacher_is_saved(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path
) -> None:
    settings = AdaptationSettings(**TINY | BEYOND | {"keep_epochs": True})
    source, target = make_set("ct", 16, 32, 1), sets(make_set)[1]
    train_adaptation(source, target, None, tiny_net(), settings, tmp_path, fabric=fabric, header=HEADER)
    assert ["consistency" in row for row in read_metrics(tmp_path)] == [False, True, True]
    saved, _ = load_model(tmp_path, lambda _: UNet(4, 2), "segmenter")
    kept, _ = load_model(tmp_path / "epochs" / "epoch_0003.safetensors", lambda _: UNet(4, 2), "segmenter")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    name = "classifier.weight"
    assert torch.equal(saved.state_dict()[name], checkpoint["training"]["modules"]["teacher"][name])
    assert torch.equal(saved.state_dict()[name], kept.state_dict()[name])
    assert not torch.equal(saved.state_dict()[name], checkpoint["training"]["modules"]["segmenter"][name])


@pytest.mark.slow
def test_the_chosen_epochs_weights_are_saved(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of scores 0.1, 0.9, 0.5 the second epoch's weights end up in the run, and its log says so."""
    from ctseg.segmentation import after_epoch
    from ctseg.selection import rules as selection

    scores = iter([0.1, 0.9, 0.5])
    monkeypatch.setattr(
        after_epoch, "score_all", lambda _: {**dict.fromkeys(selection.RULES), "tta_consistency": next(scores)}
    )
    settings = AdaptationSettings(**TINY | {"selection": "tta_consistency"})
    summary = train_adaptation(*sets(make_set), None, tiny_net(), settings, tmp_path, fabric=fabric, header=HEADER)
    assert summary["selected_epoch"] == 2
    assert [row["chosen"] for row in read_metrics(tmp_path)] == [True, True, False]
    saved, _ = load_model(tmp_path, lambda _: UNet(4, 2), "segmenter")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert torch.equal(saved.state_dict()["classifier.weight"], checkpoint["selection"]["weights"]["classifier.weight"])
    assert not torch.equal(
        saved.state_dict()["classifier.weight"], checkpoint["training"]["modules"]["segmenter"]["classifier.weight"]
    )


PAIRS = PairTable(np.array([1, 5, 14]), np.array([0, 2, 3, 4]), np.array([0, 3, 15, 2]))
"""Source 1 with targets 0 and 3; 5 with 15, which is of the validation split; 14, itself of validation, with 2."""


def test_matched_rows_are_the_distinct_sources_of_training_slices() -> None:
    train = np.arange(12)
    assert matched_rows(PAIRS, train, train).tolist() == [1]
    assert matched_rows(PAIRS, train, np.arange(16)).tolist() == [1, 5]
    assert matched_rows(PAIRS, np.arange(16), np.arange(16)).tolist() == [1, 5, 14]


@pytest.mark.parametrize(("matched", "slices"), [(True, 1), (False, 12)])
def test_matching_decides_which_slices_are_trained_on(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path, matched: bool, slices: int
) -> None:
    settings = AdaptationSettings(**TINY | {"matched": matched, "epochs": 1})
    summary = train_adaptation(*sets(make_set), PAIRS, tiny_net(), settings, tmp_path, fabric=fabric, header=HEADER)
    assert summary["source_slices"] == slices


def test_a_matched_slice_meets_the_targets_it_was_matched_with(
    make_set: MakeSet, fabric: lightning_fabric.Fabric
) -> None:
    settings = AdaptationSettings(**TINY | {"matched": True, "steps_per_epoch": 20})
    source_set, target_set = sets(make_set)
    rows = _training_rows(source_set, target_set, PAIRS, settings, None)
    source, target = make_sampler(settings, source_set, *rows, seed=0, fabric=fabric, pairs=PAIRS).draws(0)
    assert set(source.ravel()) == {1}
    assert set(target.ravel()) == {0, 3}


def test_a_list_of_source_rows_replaces_the_split(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path
) -> None:
    settings = AdaptationSettings(**TINY | {"epochs": 1})
    summary = train_adaptation(
        *sets(make_set), None, tiny_net(), settings, tmp_path,
        fabric=fabric, header=HEADER, source_rows=np.array([2, 3, 5]),
    )  # fmt: skip
    assert summary["source_slices"] == 3


def test_faults_are_named_before_training(make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path) -> None:
    source, target = sets(make_set)

    def train(source: SliceSet, target: SliceSet, pairs: PairTable | None, **settings: Any) -> None:
        chosen = AdaptationSettings(**TINY | settings)
        train_adaptation(source, target, pairs, tiny_net(), chosen, tmp_path, fabric=fabric, header=HEADER)

    with pytest.raises(SettingError, match="needs pairs"):
        train(source, target, None, matched=True)
    with pytest.raises(InputError, match="none joins the training splits"):
        train(source, target, PairTable(np.array([14]), np.array([0, 1]), np.array([2])), matched=True)
    with pytest.raises(InputError, match="has no masks"):
        train(target, target, None)
    with pytest.raises(InputError, match="no slice in split 'test'"):
        train(source, target, None, source_split="test")
    with pytest.raises(InputError, match="same --size"):
        train(source, make_set("ct", 4, 16, 0), None)
    with pytest.raises(SettingError, match="validation split"):
        train(source, target, None, selection="source_val", source_split="all")
    with pytest.raises(SettingError, match="use pseudo-CT"):
        train(source, target, None, synthetic_haemorrhage=0.5)
    with pytest.raises(SettingError, match="lambda_consistency=1"):
        train(source, target, None, copy_paste=0.5)
    assert not list(tmp_path.iterdir())


def test_validation_slices_are_fixed_by_the_seed() -> None:
    first, again, other = (choose_validation(np.arange(500), np.arange(900), seed) for seed in (1, 1, 2))
    assert np.array_equal(first.target_rows, again.target_rows)
    assert not np.array_equal(first.target_rows, other.target_rows)
    assert len(first.source_rows) == 128
    assert len(set(first.target_rows)) == 64
    assert len(choose_validation(np.arange(0), np.arange(5), 1).source_rows) == 0


def test_source_without_a_validation_split_trains_and_logs_no_source_score(
    make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path
) -> None:
    source, target = sets(make_set)
    table = source.table.assign(split="train")
    source = SliceSet(source.folder, source.images, source.masks, table, source.info)
    settings = AdaptationSettings(**TINY | {"epochs": 1})
    train_adaptation(source, target, None, tiny_net(), settings, tmp_path, fabric=fabric, header=HEADER)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["val_source_val"] is None
    assert row["val_domain_confusion"] is None


@pytest.mark.slow
def test_it_learns(make_set: MakeSet, fabric: lightning_fabric.Fabric, tmp_path: Path) -> None:
    """The paper's optimiser and loss on the paper's network, its input normalised, find bright discs in 90 steps."""
    torch.manual_seed(0)
    settings = AdaptationSettings(
        batch_size=6, epochs=6, steps_per_epoch=15, matched=False, discriminator_width=4, sample_every=100,
        validate_every=6,
    )  # fmt: skip
    summary = train_adaptation(
        make_set("mr", 48, 32, 1), make_set("ct", 32, 32, 2), None,
        FcnVgg16(4, input_mean=0.15, input_std=0.25), settings, tmp_path, fabric=fabric, header=HEADER,
    )  # fmt: skip
    assert summary["scores"]["source_val"] > 0.8


@pytest.mark.parametrize("part", ["synthetic_haemorrhage", "distractors", "copy_paste", "pseudo_label_contrast"])
def test_what_is_painted_in_hu_is_refused_on_slices_of_another_window(make_set: MakeSet, part: str) -> None:
    source, target = make_set("ct", 16, 32, 1), make_set("ct", 16, 32, 2, labelled=False)
    settings = AdaptationSettings(**TINY | {part: 0.5, "lambda_consistency": 1.0, "selection": "last"})
    for window in ((0.0, 100.0), [0.0, 100.0]):
        target.info["settings"]["window"] = window
        check_adaptation(source, target, None, settings)
    target.info["settings"]["window"] = [0.0, 50.0]
    with pytest.raises(SettingError, match=f"ct-toy: made with --window 0:50, but .*{part}.* 0 to 100 HU.*{part}=0"):
        check_adaptation(source, target, None, settings)
    unpainted = AdaptationSettings(**TINY | {"selection": "last"})
    check_adaptation(source, target, None, unpainted)


def test_a_share_of_lesions_is_refused_where_no_slice_shows_one(make_set: MakeSet) -> None:
    source, target = sets(make_set)
    masks = np.array(source.require_masks("test"))
    masks[::2] = 0
    source, shown = replace(source, masks=masks), masks.any(axis=(1, 2))
    empty, settings = np.flatnonzero(~shown), AdaptationSettings(**TINY | {"matched": False, "lesion_share": 0.5})
    check_adaptation(source, target, None, settings)
    with pytest.raises(InputError, match=rf"lesion_share=0\.5: none of {len(empty)} source slices shows a lesion"):
        check_adaptation(source, target, None, settings, source_rows=empty)
    check_folds(source, np.arange(len(shown)) // 2 % 2, FinetuneSettings(lesion_share=0.5))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_folds_are_refused_whose_networks_would_see_no_lesion(make_set: MakeSet, share: float) -> None:
    source, _ = sets(make_set)
    settings = FinetuneSettings(lesion_share=share)
    masks = np.array(source.require_masks("test"))
    masks[::2] = 0
    shown = masks.any(axis=(1, 2))
    with pytest.raises(InputError, match=r"every lesion is in the patients of fold 2 \(\d+ patients?\)"):
        check_folds(replace(source, masks=masks), shown.astype(np.int64), settings)
    with pytest.raises(InputError, match=f"mark no lesion on any of {len(masks)} slices"):
        check_folds(replace(source, masks=masks * 0), shown.astype(np.int64), settings)
