"""`ctseg phantom`: the phantom cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ctseg.cli import common

MOST = 1_000_000
"""Patients; a list of many more is longer than the memory."""


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("phantom")(phantom)


def phantom(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the cohort to.")],
    mr: Annotated[int, typer.Option("--mr", min=1, max=MOST, help="MR patients with glioma.")] = 24,
    ct: Annotated[int, typer.Option("--ct", min=1, max=MOST, help="CT patients to train on, unlabelled.")] = 24,
    ct_test: Annotated[int, typer.Option("--ct-test", min=0, max=MOST, help="Held-out CT patients.")] = 12,
    settings: common.Set = [],  # noqa: B006 - typer copies it
    seed: common.Seed = 0,
    workers: common.Workers = 2,
    scheduler: common.Scheduler = "",
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Make a test cohort: glioma MR in MSD layout, head CT with haemorrhage in RSNA layout, and its truth."""
    from ctseg.outputs import whole_folder
    from ctseg.phantom.cohort import make_cohort
    from ctseg.phantom.settings import PhantomSettings
    from ctseg.settings import parse_overrides, resolve

    sizes = given_settings(mr=mr, ct=ct, ct_test=ct_test, seed=seed)
    resolved = resolve(
        PhantomSettings, sizes, parse_overrides(settings), where="phantom", listed_by="ctseg settings phantom"
    )
    place = common.guard(output, "phantom", overwrite=overwrite)
    total = mr + ct + ct_test
    with whole_folder(place) as folder, common.executor(scheduler) as executor, common.bar("Phantom", total) as bar:
        summary = make_cohort(folder, resolved, workers=workers, executor=executor, progress=bar.update)
    failed = summary.get("failed", {})
    lines = [f"FAILED {name}: {reason}" for name, reason in failed.items()]
    made = f"{total - len(failed)} of {total} patients"
    lines.append(f"{made} ({mr} MR, {ct + ct_test} CT) -> {output}")
    common.finish({**summary, "output": str(output)}, lines, as_json)
    if failed:
        raise typer.Exit(1)


def given_settings(*, mr: int, ct: int, ct_test: int, seed: int, **_others: Any) -> dict[str, Any]:
    """The settings that the flags give."""
    return {"mr_patients": mr, "ct_train_patients": ct, "ct_test_patients": ct_test, "seed": seed}
