"""The network for other blood is made from phantom patients by one command that goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ctseg_reproduce import training_state
from ctseg_reproduce.other_blood import make, measure, patients, train
from ctseg_reproduce.other_blood.figures import by_kind, by_scan, by_volume, confusion, lines, scans_of
from ctseg_reproduce.other_blood.measure import Row
from ctseg_reproduce.other_blood.patients import KindSlices, held_out_case, training_case
from safetensors.numpy import load_file
from stopping import stopping_after

from ctseg.cli.main import main
from ctseg.errors import InputError
from ctseg.files import write_json
from ctseg.harmless import csv_text
from ctseg.inference.kind_slices import KINDS
from ctseg.inference.models import load_other_blood
from ctseg.io.input_digests import file_sha256
from ctseg.models import ModelSource
from ctseg.phantom.bleeds import KINDS as FINDINGS
from ctseg.phantom.cohort import DOMAINS, TRAIN_MIX, _jobs
from ctseg.phantom.settings import PhantomSettings
from ctseg.preprocess.frame import Frame

CPU = torch.device("cpu")


def drawn(seed: int, slices: int = 3) -> KindSlices:
    """Flat heads with a bright square of one kind in each slice."""
    images = np.zeros((slices, 144, 144), np.uint8)
    images[:, 30:110, 35:105] = 80
    kinds = np.zeros_like(images)
    for place in range(slices):
        row = 45 + 10 * ((seed + place) % 4)
        kinds[place, row : row + 8, 60:72] = 1 + (seed + place) % len(FINDINGS)
    images[kinds > 0] = 200
    return KindSlices(images, kinds, np.arange(slices) * 5.0)


def pool() -> train.Pool:
    return train.Pool.of([drawn(seed) for seed in range(4)])


def test_no_patient_of_training_is_one_of_a_cohort_or_of_the_test() -> None:
    cases = [training_case(index) for index in range(make.PATIENTS)]
    choosing = len(patients.CHOOSING_OF_MIX) + len(patients.CHOOSING_OF_HOSPITAL)
    every = [*cases, *(patients.choosing_case(index) for index in range(choosing))]
    assert len({case.seed for case in every}) == len(every) == make.PATIENTS + choosing
    assert not {case.seed[1] for case in every} & set(DOMAINS.values())
    shown = np.array([[kind in case.findings.kinds for kind in FINDINGS] for case in cases]).sum(axis=0)
    assert shown.min() >= 10
    assert sum(not case.findings.any for case in cases) >= 8


def test_mix_meets_every_scanner_and_slice_step() -> None:
    for cycle in (4, 5, 9, 12, len(patients.STEPS_MM), len(TRAIN_MIX)):
        assert np.gcd(len(patients.MIX), cycle) == np.gcd(len(patients.HOSPITAL_MIX), cycle) == 1


def test_the_held_out_patients_are_those_of_the_cohort() -> None:
    settings = PhantomSettings(mr_patients=0, ct_train_patients=0, ct_test_patients=14, seed=3001)
    wanted = [job.case for job in _jobs(Path(), settings)]
    assert [replace(held_out_case(3001, index), every_mask=False) for index in range(14)] == wanted


@pytest.mark.slow
def test_a_patients_slices_show_the_kinds_that_it_has() -> None:
    case = patients.small(training_case(15), 128, 10.0)
    found = patients.patient_slices(case)
    assert found.images.shape == found.kinds.shape == (len(found.z_mm), 144, 144)
    assert not found.kinds[found.images == 0].any()
    assert {FINDINGS[kind - 1] for kind in np.unique(found.kinds) if kind} <= set(case.findings.kinds)
    assert (found.kinds > 0).sum() > 100
    blood, tissue = (
        np.median(found.images[which & (found.images > 0)]) for which in (found.kinds > 0, found.kinds == 0)
    )
    assert blood > tissue + 15


def test_a_pixel_has_the_kind_with_the_largest_share() -> None:
    masks = {kind: np.zeros((1, 4, 4), bool) for kind in FINDINGS}
    masks["subdural"][0, :2, :2] = True
    masks["epidural"][0, 2:, 2] = True
    masks["subarachnoid"][0, 2:, 3] = True
    masks["subarachnoid"][0, 2, 2] = False
    masks["intraventricular"][0, 0, 3] = True
    frame = Frame((4, 4), (4, 4), 0.0, 1.0, 0.0, 1.0)
    kinds = patients.model_kinds(masks, frame)[0]
    assert kinds.tolist() == [[4, 4, 0, 2], [4, 4, 0, 0], [0, 0, 5, 3], [0, 0, 5, 3]]


def test_augmentation_moves_the_kinds_with_the_blood() -> None:
    images, kinds = pool().batch(np.random.default_rng(0), CPU)
    assert images.shape == (train.BATCH, 3, 144, 112)
    assert kinds.shape == (train.BATCH, 144, 112)
    middle = images[:, 1]
    blood, tissue = middle[kinds > 0], middle[(kinds == 0) & (middle > -1)]
    assert kinds.bool().any(dim=(1, 2)).float().mean() > 0.9
    assert blood.median() > tissue.median() + 0.5
    assert (blood > tissue.median() + 0.4).float().mean() > 0.9
    assert not kinds[middle == -1].any()


def test_a_batch_follows_from_its_seed_and_shows_other_blood() -> None:
    shown = pool()
    one, same, other = (shown.batch(np.random.default_rng(seed), CPU) for seed in (3, 3, 4))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])
    chosen = shown.draw(np.random.default_rng(0))
    assert (shown.kinds[chosen[: train.BATCH // 2]] >= 2).any(axis=(1, 2)).all()


def test_a_slice_keeps_its_draws_when_slices_are_taken() -> None:
    rng = np.random.default_rng(0)
    images = torch.rand(6, 1, 144, 144, generator=torch.Generator().manual_seed(0)).clamp(min=0.1)
    images[..., :20] = -1
    rows = np.array([4, 1])
    for step in train.drawn(rng, 2):
        whole, _ = step.apply(images, images[:, :0])
        part, _ = train.taken(step, rows).apply(images[rows], images[rows, :0])
        torch.testing.assert_close(part, whole[rows], msg=str(type(step)))


def test_a_stack_moves_as_one_and_bone_changes_half_of_them_as_one() -> None:
    flips, affine, *bone, shift, _, _ = train.drawn(np.random.default_rng(1), 200)
    assert (flips.left_right.reshape(-1, 3) == flips.left_right[::3, None]).all()
    assert (affine.zoom.reshape(-1, 3) == affine.zoom[::3, None]).all()
    assert (shift.shift.reshape(-1, 3) == shift.shift[::3, None]).all()
    alike = [(step.peak.reshape(-1, 3) == step.peak[::3, None]).all(axis=1) for step in bone if hasattr(step, "peak")]
    assert 0.35 < alike[0].mean() < 0.65
    assert (alike[0] == alike[1]).all()
    assert len(bone) == 5


def test_the_loss_falls_with_what_is_right() -> None:
    kinds = torch.from_numpy(drawn(0).kinds[:1]).long()
    right = 20 * torch.nn.functional.one_hot(kinds, train.CLASSES).permute(0, 3, 1, 2).float()
    half = right.clone()
    half[:, :, :50] = 0
    losses = [float(train.loss_of(logits, kinds)) for logits in (right, half, -right)]
    assert losses[0] < 0.01 < losses[1] < losses[2]


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], make.OtherBloodRequest]:
    """Requests of a few steps, in folders whose patients are there already."""
    monkeypatch.setattr(training_state, "SAVE_EVERY", 2)
    monkeypatch.setattr(train, "BATCH", 4)
    monkeypatch.setattr(train, "SETTINGS", {**train.SETTINGS, "width": 4, "depth": 1})

    def request(root: Path) -> make.OtherBloodRequest:
        (root / "patients").mkdir(parents=True)
        for index in range(2):
            drawn(index).save(patients.patient_file(root, index))
        return make.OtherBloodRequest(patients=2, steps=4, precision="32-true")

    return request


def made(root: Path, request: make.OtherBloodRequest) -> Path:
    return make.make_weights(root, request, "cpu", 0, lambda *_: None)


def test_making_goes_on_where_it_stopped_and_ends_the_same(
    little: Callable[[Path], make.OtherBloodRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(tmp_path / "whole", little(tmp_path / "whole"))
    request = little(tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(train, "loss_of", stopping_after(train.loss_of, 2))
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "parts", request)
    parts = made(tmp_path / "parts", request)
    one, other = load_file(whole), load_file(parts)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert file_sha256(whole) == file_sha256(parts)
    with pytest.raises(InputError, match=r"begun with another seed.*another -o"):
        made(tmp_path / "parts", replace(request, seed=1))


def test_what_is_made_is_what_segment_loads(
    little: Callable[[Path], make.OtherBloodRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_other_blood(ModelSource(made(tmp_path, little(tmp_path))))
    assert model.preprocessing.size == 144
    assert model.header.training["steps"] == 4
    assert model.module(torch.zeros(1, 3, 32, 32)).logits.shape == (1, train.CLASSES, 32, 32)


@pytest.mark.parametrize("name", ["training.pt", "patients/001.npz"])
def test_what_is_damaged_is_one_line(
    name: str, little: Callable[[Path], make.OtherBloodRequest], tmp_path: Path
) -> None:
    request = little(tmp_path)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match=rf"{name}: cannot be read; remove it"):
        made(tmp_path, request)


def test_a_patient_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(index: int, folder: Path) -> None:
        raise ValueError("no head")

    monkeypatch.setattr(make, "keep_patient", fails)
    with pytest.raises(InputError, match="patient 0 could not be simulated .*no head.*; call again"):
        make.make_patients(tmp_path, 2, 0, lambda *_: None)


def test_the_command_makes_it(
    little: Callable[[Path], make.OtherBloodRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    little(tmp_path / "elsewhere")
    monkeypatch.setattr(
        make, "keep_patient", lambda index, folder: drawn(index).save(patients.patient_file(folder, index))
    )
    monkeypatch.setattr(make.OtherBloodRequest, "__init__", _few_steps(make.OtherBloodRequest.__init__))
    call = ["reproduce", "other-blood-model", "-o", str(tmp_path / "out"), "--device", "cpu", "--workers", "0"]
    assert main([*call, "--precision", "32"]) == 0
    assert file_sha256(tmp_path / "out" / "other-blood.safetensors") in capsys.readouterr().err
    assert main([*call, "--precision", "bf16"]) == 2
    assert "begun with another seed, precision or length" in capsys.readouterr().err
    assert main([*call, "--precision", "64"]) == 2


def _few_steps(init: Callable[..., None]) -> Callable[..., None]:
    def few(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **{"patients": 2, "steps": 4, **kwargs})

    return few


def row(name: str, truth: dict[str, float], called: dict[str, dict[str, float]], extra: float = 0.0) -> Row:
    """A patient; `extra` mL of SAH are called where there is no blood."""
    amounts = {kind: truth.get(kind, 0.0) for kind in (*KINDS.values(), "iph")}
    table = {
        kind: {**dict.fromkeys((*KINDS.values(), "iph", "none"), 0.0), **called.get(kind, {})}
        for kind in KINDS.values()
    }
    found = {kind: sum(table[one][kind] for one in KINDS.values()) for kind in KINDS.values()}
    found["sah"] += extra
    both = {kind: table[kind][kind] for kind in KINDS.values()}
    both["any"] = sum(table[one][other] for one in KINDS.values() for other in KINDS.values())
    return Row(name, amounts, found, both, table)


ROWS = [
    row("a", {"sdh": 10}, {"sdh": {"sdh": 6, "edh": 2, "none": 2}}),
    row("b", {"sdh": 2, "iph": 5}, {"sdh": {"none": 2}}),
    row("c", {}, {}),
    row("d", {"iph": 9}, {}, extra=3.0),
]


def test_tables_say_what_the_rows_hold() -> None:
    kinds = {line.split(" | ")[0].strip("| "): line for line in by_kind(ROWS)}
    assert "| 2 | 0.667 (" in kinds["SDH"]  # 2 x 6 / (12 + 6)
    assert "| 2 | 0.800 (" in kinds["SDH or EDH"]  # 2 x 8 / (12 + 8)
    assert "0.696 (" in kinds["any of them"]  # 2 x 8 / (12 + 11)
    assert kinds["any of them"].rstrip(" |").endswith("0.92")
    volumes = [line for line in by_volume(ROWS) if "SDH" in line]
    assert [line.split("|")[2:5] for line in volumes] == [
        [" 1 to 5 ", " 0 of 1 ", " 0.00 "], [" 5 to 20 ", " 1 of 1 ", " 0.80 "],
    ]  # fmt: skip
    scans = by_scan(scans_of(ROWS))
    assert "| sensitivity | 2 | 0.500 (" in scans[2]
    assert "| specificity | 2 | 0.500 (" in scans[3]
    assert "| sensitivity, scans with SDH | 2 | 0.500 (" in scans[4]
    assert scans[5:] == [
        "| false mL a scan, no blood | 1 | 0.00; median 0.00, largest 0.00 |",
        "| false mL a scan, IPH alone | 1 | 3.00; median 3.00, largest 3.00 |",
    ]
    assert confusion(ROWS)[2:] == ["| SDH | 12 | 0 | 0 | 50 | 17 | 0 | 33 |"]
    assert lines(ROWS).count("") == 3


def test_whole_scans_are_judged_by_their_slice_labels(tmp_path: Path) -> None:
    columns = ["case", *(f"{finding}_slices" for finding in FINDINGS)]
    (tmp_path / "cohort" / "truth").mkdir(parents=True)
    text = csv_text(
        columns, [dict(zip(columns, values, strict=True)) for values in (("a", 3, 0, 2, 0, 0), ("b", 0, 0, 0, 0, 0))]
    )
    (tmp_path / "cohort" / "truth" / "cases.csv").write_text(text)
    cases = [{"case": "b", "other_ml": 0.0}, {"case": "a", "other_ml": 1.5}]
    write_json(tmp_path / "masks" / "volumes.json", {"cases": cases})
    found = measure.labelled_scans(tmp_path / "cohort", tmp_path / "masks")
    assert [(scan.name, scan.kinds, scan.iph, scan.found_ml) for scan in found] == [
        ("b", (), False, 0.0), ("a", ("sah",), True, 1.5),
    ]  # fmt: skip
    write_json(tmp_path / "masks" / "volumes.json", {"cases": [{"case": "a", "other_ml": None}]})
    with pytest.raises(InputError, match="was made without --other-blood"):
        measure.labelled_scans(tmp_path / "cohort", tmp_path / "masks")


def test_a_scan_is_compared_with_its_truth() -> None:
    from ctseg.io.volume import Volume

    origins = np.zeros((2, 3))
    origins[:, 2] = (0, 10)
    step = np.array([0.0, 10.0, 0.0]), np.array([10.0, 0.0, 0.0])
    volume = Volume(np.zeros((2, 4, 4), np.float32), origins, *step, "ct", "a", "a")
    truth = {kind: np.zeros((2, 4, 4), bool) for kind in FINDINGS}
    truth["subdural"][0, 0, :3] = True
    iph, kinds = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), np.uint8)
    iph[0, 0, 0], kinds[0, 0, 1], kinds[1, 3, 3] = True, 3, 1
    found = measure.measured("a", volume, truth, kinds, iph, None)
    assert found.truth_ml["sdh"] == pytest.approx(3)
    assert found.called_ml["sdh"] == pytest.approx({"ivh": 0, "sah": 0, "sdh": 1, "edh": 0, "iph": 1, "none": 1})
    assert (found.other_ml, found.found_other_ml, found.both_ml["any"]) == pytest.approx((3, 2, 1))
