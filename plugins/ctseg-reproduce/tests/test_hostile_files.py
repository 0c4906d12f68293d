"""Files that a reproduction goes on from and that somebody else has written, and callers that are killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ctseg_reproduce import pool
from ctseg_reproduce.inputs import PHANTOM
from ctseg_reproduce.outcomes import COLUMNS, import_outcomes, imported_outcomes, read_outcomes
from ctseg_reproduce.plan import Plan
from ctseg_reproduce.recovery_study import run_study
from ctseg_reproduce.run import Request, outvoted, settled_plan
from ctseg_reproduce.scales import get_scale
from ctseg_reproduce.stages import Stage, is_done, run_stage, seconds_of
from ctseg_reproduce.systems import ROWS
from ctseg_reproduce.table import Result
from implant_toys import bright_models, write_cohort

from ctseg.cli.run import execute
from ctseg.errors import InputError
from ctseg.inference.settings import SegmentSettings

STAGE = Stage("a", ({"name": "plugins", "command": "plugins", "output": "x"},))
NOT_TABLES = ["[1]", '"x"', "null", "[" * 100_000, "{", "\x00", "{'a': 1}"]
LINE = {
    "row": "AMD-DAS", "seed": 0, "cohort": 3000, "key": "k", "machine": "m", "seconds": 1.0, "selection": "s",
    "slices": 2, "patient": "p", **{name: 1.0 for name in COLUMNS if name.endswith(("_part", "_whole"))},
}  # fmt: skip


@pytest.mark.parametrize("text", NOT_TABLES)
def test_what_is_remembered_and_is_no_table_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "reproduce.json").write_text(text)
    with pytest.raises(InputError, match=r"reproduce\.json"):
        settled_plan(tmp_path, Plan(get_scale("smoke"), PHANTOM, "cpu", 0, "32"))
    (tmp_path / "a/stage.json").write_text(text)
    (tmp_path / "a/study.state.json").write_text("{}")
    for act in (lambda: is_done(tmp_path, STAGE), lambda: run_stage(tmp_path, STAGE, execute)):
        with pytest.raises(InputError, match=r"stage\.json"):
            act()
    (tmp_path / "a/stage.json").write_text(json.dumps({"key": STAGE.key}))
    for state in (text, '{"plugins": 3}', '{"plugins": {"seconds": "long"}}'):
        (tmp_path / "a/study.state.json").write_text(state)
        for act in (lambda: is_done(tmp_path, STAGE), lambda: seconds_of(tmp_path, STAGE)):
            with pytest.raises(InputError, match=r"study\.state\.json"):
                act()


@pytest.mark.parametrize("change", [
    {"seed": np.inf}, {"seed": 1.5}, {"seed": np.nan}, {"slices": np.inf}, {"patient": None}, {"row": None},
    {"key": None}, {"seed": "x"}, {"seconds": "x"}, {"cohort": np.inf},
])  # fmt: skip
def test_an_import_that_no_machine_wrote_is_refused_and_not_copied(tmp_path: Path, change: dict[str, object]) -> None:
    good = tmp_path / "good.csv"
    pd.DataFrame([LINE]).to_csv(good, index=False)
    import_outcomes(tmp_path / "kept", [good])
    assert len(list((tmp_path / "kept/imported").iterdir())) == 1
    bad = tmp_path / "bad.csv"
    pd.DataFrame([LINE, {**LINE, **change}]).to_csv(bad, index=False)
    with pytest.raises(InputError, match=r"bad\.csv"):
        import_outcomes(tmp_path / "out", [good, bad])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "data", [b"\x00" * 2000, "row,seed\n".encode("utf-16"), b"\xef\xbb\xbf", b'"' + b"a" * 200_000]
)
def test_an_import_that_is_no_table_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.csv").write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.csv"):
        import_outcomes(tmp_path / "out", [tmp_path / "bad.csv"])


CONFLICTS = [{"pooled_part": 2.0}, {"patient": "q"}, {"slices": 3}, {"cohort": 3001}, {"cohort": None}]


@pytest.mark.parametrize("change", CONFLICTS)
@pytest.mark.parametrize("together", [True, False])
def test_imports_that_contradict_each_other_are_refused(
    tmp_path: Path, change: dict[str, object], together: bool
) -> None:
    one, other, out = tmp_path / "one.csv", tmp_path / "other.csv", tmp_path / "out"
    lines = [LINE, {**LINE, "patient": "b"}]
    pd.DataFrame(lines).to_csv(one, index=False)
    pd.DataFrame([lines[1], {**LINE, **change}]).assign(machine="n", seconds=2.0).to_csv(other, index=False)
    if change.keys() & {"slices", "cohort"}:
        pd.DataFrame(lines).assign(**change).to_csv(other, index=False)
    if not together:
        import_outcomes(out, [one])
    with pytest.raises(InputError, match=r"other\.csv: other numbers for row AMD-DAS, seed 0 than .*\.csv"):
        import_outcomes(out, [one, other] if together else [other])
    assert len(list(out.glob("imported/*"))) == (0 if together else 1)


def test_imports_that_say_the_same_count_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    lines = [LINE, {**LINE, "patient": "b"}]
    pd.DataFrame(lines).to_csv(one, index=False)
    more = [{**line, "machine": "n", "seconds": 2.0} for line in reversed(lines)]
    pd.DataFrame([*more, {**LINE, "seed": 1}, {**LINE, "key": "l", "pooled_part": 3.0}]).to_csv(other, index=False)
    import_outcomes(tmp_path, [one, other, one])
    found = imported_outcomes(tmp_path)
    assert sorted((item.key, item.outcome.seed) for item in found) == [("k", 0), ("k", 0), ("k", 1), ("l", 0)]


@pytest.mark.parametrize("second", [{}, {"seconds": 2.0}, {"patient": "c", "machine": "n"}])
def test_a_table_put_together_from_two_is_refused(tmp_path: Path, second: dict[str, object]) -> None:
    lines = [LINE, {**LINE, "patient": "b"}]
    pd.DataFrame([*lines, *({**line, **second} for line in lines)]).to_csv(tmp_path / "both.csv", index=False)
    with pytest.raises(InputError, match=r"both\.csv: row AMD-DAS, seed 0 is there twice"):
        import_outcomes(tmp_path / "out", [tmp_path / "both.csv"])


def test_imports_are_read_again_before_they_count(tmp_path: Path) -> None:
    (tmp_path / "imported").mkdir()
    for number in range(2):
        pd.DataFrame([{**LINE, "fp_ml_part": number}]).to_csv(tmp_path / f"imported/{number}.csv", index=False)
    with pytest.raises(InputError, match=r"imported/1\.csv: other numbers .* than .*imported/0\.csv"):
        imported_outcomes(tmp_path)


def test_a_run_of_the_folder_counts_before_an_import_and_that_is_said(tmp_path: Path) -> None:
    imports = tmp_path / "one.csv"
    pd.DataFrame([{**LINE, "row": "mr"}]).to_csv(imports, index=False)
    (record,) = read_outcomes(imports)
    plan = Plan(get_scale("smoke"), PHANTOM, "cpu", 0, "32")
    request = Request(tmp_path, "table3", plan, (), (0,), (record,))
    own = replace(record, machine="here", outcome=replace(record.outcome, slices=9))
    for made, said in ((record, []), (own, ["mr, seed 0"])):
        assert outvoted(request, [Result(ROWS["mr"], (made.outcome,), 1.0, "", (), (made,))]) == said


def test_tables_and_settings_that_claim_gigabytes_are_not_read(tmp_path: Path) -> None:
    from ctseg.evaluation.cases import read_table
    from ctseg.files import read_json, read_toml

    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(20 << 30)
    readers: list[Callable[[Path], object]] = [
        read_json, read_toml, lambda path: import_outcomes(tmp_path, [path]), lambda path: read_table(path, ["case"]),
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(InputError, match="huge: has 20480 MiB"):
            read(huge)


@pytest.mark.slow
def test_another_cohort_of_the_same_names_is_measured_anew(tmp_path: Path) -> None:
    models, out, settings = bright_models(), tmp_path / "out", SegmentSettings(recovery=True, recovery_hu=60)
    first = write_cohort(tmp_path / "first", 1)
    run_study(models, [first], out, 1, settings, 0, lambda _: None)
    before = json.loads((out / "recovery.json").read_text())
    other = write_cohort(tmp_path / "other", 2)
    for part in ("rsna/stage_2_test", "truth/iph/test", "truth/brain/test"):
        (other / part / "p1.nii.gz").replace(other / part / "p0.nii.gz")
    run_study(models, [other], out, 1, settings, 0, lambda _: None)
    rows = json.loads((out / "recovery.json").read_text())
    assert [row["scan"] for row in rows["scans"]] == ["p0-0"]
    assert rows["scans"][0]["input"] != before["scans"][0]["input"]
    run_study(models, [first, other], out, 2, settings, 0, lambda _: None)  # names may be those of two cohorts
    both = json.loads((out / "recovery.json").read_text())
    assert [row["scan"] for row in both["scans"]] == ["p0-0", "p0-0"]
    assert len({row["input"] for row in both["scans"]}) == 2
    for spoilt in ({}, {"quality": 3}, {"dice": "x"}, {"recovery_dice_2ml": "x"}, {"recovery": "x"}, {"input": None}):
        row = {**rows["scans"][0], **spoilt} if spoilt else 7
        (out / "recovery.json").write_text(json.dumps({**rows, "scans": [row]}))
        with pytest.raises(InputError, match=r"a row of its scans is broken"):
            run_study(models, [first], out, 1, settings, 0, lambda _: None)


@pytest.mark.slow
def test_a_caller_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    caller = os.fork()
    if caller == 0:
        try:
            worker = pool._start(tmp_path, 0)
            while not (tmp_path / pool.LOGS / "process-0.log").exists():  # it is about to wait for work
                time.sleep(0.05)
            os.write(writing, str(worker.process.pid).encode())
            signal.pause()
        finally:
            os._exit(1)
    process = int(os.read(reading, 20))
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    for _ in range(600):
        if not Path(f"/proc/{process}").exists() or "State:\tZ" in Path(f"/proc/{process}/status").read_text():
            return
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    raise AssertionError("the process waits for ever")
