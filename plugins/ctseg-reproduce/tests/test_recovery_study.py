from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from ctseg_reproduce import recovery_figure
from ctseg_reproduce.qualities import Quality, degrade
from ctseg_reproduce.recovery_figure import main_fault, read_at, summarise, write_figure
from ctseg_reproduce.recovery_study import cohort_cases, halved, run_study
from implant_toys import bright_models, head_hu, head_volume, write_cohort

from ctseg.errors import InputError
from ctseg.inference.settings import SegmentSettings

SETTINGS = SegmentSettings(recovery=True, recovery_hu=60)


def worse(quality: Quality, seed: int = 0):  # type: ignore[no-untyped-def]
    _, brain, blood = head_hu(70.0)
    volume, (new_brain, new_blood) = degrade(head_volume(70.0), (brain, blood), quality, np.random.default_rng(seed))
    return volume.voxels, new_brain, new_blood, volume


def test_nothing_is_nothing() -> None:
    assert np.array_equal(worse(Quality())[0], head_volume(70.0).voxels)


def test_noise_blur_and_calibration_do_what_they_say() -> None:
    hu, brain, blood, _ = worse(Quality())
    inner = brain & ~blood
    noisy = worse(Quality(noise_hu=10))[0]
    assert noisy[inner].std() == pytest.approx(np.hypot(hu[inner].std(), 10), rel=0.15)
    shifted = worse(Quality(calibration_hu=5))[0]
    assert (shifted - hu)[inner].mean() == pytest.approx(5, abs=0.01)
    smooth = worse(Quality(blur_mm=2))[0]
    core = np.zeros_like(inner)
    core[12, 35:48, 20:35] = True
    assert smooth[core & inner].std() < 0.6 * hu[core & inner].std()


def test_motion_smears_the_edges_of_the_blood() -> None:
    hu, _, blood, _ = worse(Quality())
    moved = worse(Quality(motion_mm=8))[0]
    assert moved[blood].mean() < hu[blood].mean() - 2


def test_thick_slices_are_fewer_and_keep_their_volume() -> None:
    _, _, blood, volume = worse(Quality(thick=2))
    assert len(volume.voxels) == 12
    assert volume.slab_mm[3] == pytest.approx(10)
    ml = float(blood.sum(axis=(1, 2)) @ volume.voxel_ml)
    _, _, before, old = worse(Quality())
    assert ml == pytest.approx(float(before.sum(axis=(1, 2)) @ old.voxel_ml), rel=0.2)


@pytest.mark.slow
def test_metal_streaks_through_a_third_of_the_slices() -> None:
    hu = worse(Quality())[0]
    metal = worse(Quality(metal=3.0))[0]
    changed = np.abs(metal - hu).max(axis=(1, 2)) > 500
    assert 3 <= changed.sum() <= len(hu) // 2
    assert np.array_equal(metal[~changed], hu[~changed])


def test_draws_are_seeded_and_of_every_kind() -> None:
    drawn = [Quality.draw(np.random.default_rng(seed)) for seed in range(80)]
    assert drawn == [Quality.draw(np.random.default_rng(seed)) for seed in range(80)]
    assert {main_fault(asdict(item)) for item in drawn} == {
        "as it is", "noise", "blur", "motion", "metal", "thick slices"
    }  # fmt: skip


def test_fine_scans_are_halved_in_place() -> None:
    volume = head_volume(70.0)
    fine = volume.__class__(
        volume.voxels, volume.origins_mm, volume.row_step_mm / 4, volume.col_step_mm / 4, "ct", "a", "a"
    )
    half, (mask,) = halved(fine, (head_hu()[1],))
    assert half.voxels.shape == mask.shape == (25, 42, 42)
    assert half.spacing_mm[0] == pytest.approx(1.0)
    middle = half.origins_mm[0] - fine.origins_mm[0]
    assert middle == pytest.approx(np.array([0.25, 0.25, 0.0]))
    assert halved(volume, (head_hu()[1],))[0] is volume


def rows(noise: bool = False) -> list[dict]:  # type: ignore[type-arg]
    """Recovery falls as Dice does."""
    return [
        {
            "case": f"c{n // 2}",
            "recovery": None if n == 11 else 0.95 - 0.05 * n,
            "dice": 0.9 - 0.05 * n, "expected_dice": 0.9 - 0.01 * n, "found_ml": 5.0 + n, "true_ml": 9.0,
            "quality": asdict(Quality(noise_hu=float(n))),
            **{f"recovery_{name}_{ml}ml": None if noise and n == 2 else 0.8 - 0.05 * n for ml in (2, 5, 15)
               for name in ("dice", "share")},
        }
        for n in range(12)
    ]  # fmt: skip


def test_bright_haematomas_can_be_read_at_a_volume() -> None:
    dices = (0.2, 0.5, 0.8)
    assert [read_at(ml, dices) for ml in (0.1, 2, 5, 15, 90)] == pytest.approx([0.2, 0.2, 0.5, 0.8, 0.8])
    assert 0.5 < read_at(8, dices) < 0.8


def test_the_summary_ranks_and_leaves_out_what_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_figure, "RESAMPLES", 50)
    found = summarise(rows())
    assert found["standard"]["spearman"] == found["expected_dice"]["spearman"] == 1
    assert found["found_ml"]["spearman"] == -1
    assert found["recovery"]["scans"] == 11
    assert found["difference"]["recovery"] == {"scans": 11, "mean_absolute": 0.05, "mean": 0.05}
    assert found["difference"]["expected_dice"] == {"scans": 12, "mean_absolute": 0.22, "mean": 0.22}
    nothing = summarise([{**row, "recovery": None} for row in rows()])["difference"]["recovery"]
    assert nothing == {"scans": 0, "mean_absolute": None, "mean": None}
    assert found["within_patients"]["standard"]["spearman"] == 1
    assert summarise([{**row, "case": f"d{n}"} for n, row in enumerate(rows())])["within_patients"]["standard"] == {
        "scans": 0, "spearman": None, "low": None, "high": None
    }  # fmt: skip
    assert (found["scans"], found["patients"]) == (12, 6)
    assert summarise(rows(noise=True))["standard"]["scans"] == 11
    assert write_figure(tmp_path / "a.png", rows()).stat().st_size > 1000


@pytest.mark.slow
def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort", 2)
    assert len(list(cohort_cases(cohort))) == 2
    models, out = bright_models(), tmp_path / "out"
    run_study(models, [cohort], out, 2, SETTINGS, 0, lambda _: None)
    first = json.loads((out / "recovery.json").read_text())["scans"]
    assert len(first) == 2
    assert all(row["dice"] > 0.5 or row["quality"]["noise_hu"] for row in first)
    assert all(0.5 < row["expected_dice"] <= 1 for row in first)
    assert all(0 < row["recovery"] < 1 and len(row["known"]) > 12 for row in first)
    run_study(models, [cohort], out, 3, SETTINGS, 0, lambda _: None)
    again = json.loads((out / "recovery.json").read_text())["scans"]
    assert again[:2] == first
    assert len(again) == 3
    with pytest.raises(InputError, match="another model, seed or HU"):
        run_study(models, [cohort], out, 3, SETTINGS, 1, lambda _: None)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no phantom scan"):
        run_study(models, [tmp_path / "none"], tmp_path / "b", 3, SETTINGS, 1, lambda _: None)


def test_what_is_no_cohort_leaves_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ctseg.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    assert main(["recovery-study", "none", "-o", "out"]) == 2
    assert "none: no phantom cohort (no rsna/stage_2_test); make one with `ctseg phantom" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
