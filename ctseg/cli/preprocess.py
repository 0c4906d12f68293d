"""`ctseg preprocess`: raw scans become a slice set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ctseg.cli import common, completion
from ctseg.harmless import one_line

if TYPE_CHECKING:
    from ctseg.io.case import Discovery
    from ctseg.outputs import Output
    from ctseg.plugins.host import Entry
    from ctseg.preprocess.pipeline import PreprocessReport
    from ctseg.preprocess.settings import PreprocessSettings


Domain = Annotated[
    Literal["auto", "mr", "ct"], typer.Option("--domain", help="What the scans are; auto: by headers and names.")
]
Slices = Annotated[str, typer.Option("--slices", help="FIRST:END, as 60:100; default: every slice with brain.")]
LesionLabels = Annotated[
    str, typer.Option("--lesion-labels", help="Label values that count as lesion, as 1,2; default: all above 0.")
]
Brain = Annotated[
    str,
    typer.Option(
        "--brain",
        help="Brain extractor for CT; see `ctseg plugins`.",
        autocompletion=completion.plugins_of("brain_extractor"),
    ),
]
Select = Annotated[
    str,
    typer.Option(
        "--select", help="Keep slices with this label, as intraparenchymal.", autocompletion=completion.slice_labels
    ),
]
Masks = Annotated[
    Path | None,
    typer.Option(
        "--masks", help="Folder of lesion masks (CASE.nii.gz, CASE.seg.nrrd, CASE.dcm), for scans without labels."
    ),
]
Split = Annotated[
    str, typer.Option("--split", help="Shares of train:val[:test] patients; default 0.8:0.2 for MR, 1 for CT.")
]


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("preprocess")(preprocess)


def preprocess(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="RAW",
            help="MSD task folder, BraTS folder, NIfTI file or folder, DICOM tree, zip, RSNA's flat folder; "
            "- for paths on stdin.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Slice set to write.")],
    domain: Domain = "auto",
    size: Annotated[int, typer.Option("--size", help="Height and width of a slice in pixels.")] = 240,
    fov: Annotated[float, typer.Option("--fov", help="Height and width of a slice in mm.")] = 240.0,
    slices: Slices = "",
    window: Annotated[str, typer.Option("--window", help="HU that become 0 and 255 (CT).")] = "0:100",
    labels: Annotated[Path | None, typer.Option("--labels", help="Slice labels: RSNA's stage_2_train.csv.")] = None,
    select: Select = "",
    masks: Masks = None,
    lesion_labels: LesionLabels = "",
    split: Split = "",
    splits: Annotated[Path | None, typer.Option("--splits", help="CSV patient_id,split to use instead.")] = None,
    brain: Brain = "muschelli",
    null: common.Null = False,
    settings: common.Set = [],  # noqa: B006 - typer copies it
    seed: common.Seed = 0,
    workers: common.Workers = 2,
    scheduler: common.Scheduler = "",
    share: common.Share = False,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Turn raw MR or CT scans into a slice set: oriented, brain only, scaled, split by patient."""
    from ctseg.io.discover import discover
    from ctseg.settings import parse_overrides

    given = given_settings(
        size=size, fov=fov, window=window, slices=slices, split=split, lesion_labels=lesion_labels, select=select,
        brain=brain, seed=seed,
    )  # fmt: skip
    resolved, entry = resolve_settings(given, parse_overrides(settings), output)
    extractor = entry.extractor(resolved.brain_extractor_settings)
    paths = common.existing_paths(inputs, null=null)
    reads = (*paths, *inputs, labels, masks, splits)
    place = common.guard(output, "preprocess", reads, overwrite=overwrite, share=share)
    with common.bar("Looking") as bar:
        found = discover(paths, domain, workers=workers, progress=bar.update, without=output)
    if not split and "split" not in parse_overrides(settings) and all(case.domain == "ct" for case in found.cases):
        resolved = resolved.model_copy(update={"split": (1.0,)})
    tables = {"domain": domain, "labels": labels, "splits": splits, "masks": masks}
    with common.executor(scheduler) as executor, common.bar("Preprocess", len(found.cases)) as bar:
        machines = {"workers": workers, "executor": executor, "progress": bar.update}
        report = _make(found, place, resolved, tables | {"extractor": extractor}, machines)
    common.finish(_summary(report, output), [*found.about_ignored(), *_lines(report, output)], as_json)
    if report.failed or found.incomplete:
        raise typer.Exit(1)


def _make(
    found: Discovery, place: Output, settings: PreprocessSettings, made_of: dict[str, Any], machines: dict[str, Any]
) -> PreprocessReport:
    """The slice set, by this call alone or together with others."""
    if place.share:
        from ctseg.preprocess.shared import preprocess_together

        return preprocess_together(found, place, settings, made_of, **machines)
    from ctseg.outputs import whole_folder
    from ctseg.preprocess.pipeline import preprocess as make_set

    with whole_folder(place) as folder:
        return make_set(found, folder, settings, **made_of, **machines)


def given_settings(
    *,
    size: int,
    fov: float,
    window: str,
    slices: str,
    split: str,
    lesion_labels: str,
    select: str,
    brain: str,
    seed: int,
    **_others: Any,
) -> dict[str, Any]:
    """The settings that the flags give; some change a default only when they are given.

    Raises:
        SettingError: naming a flag whose text is of no known form.
    """
    values: dict[str, Any] = {
        "size": size, "fov_mm": fov, "window": common.number_pair(window, "--window"), "seed": seed,
        "select": select or None, "brain_extractor": brain,
    }  # fmt: skip
    if slices:
        first, end = common.number_pair(slices, "--slices")
        values["slices"] = (int(first), int(end))
    if split:
        values["split"] = common.numbers(split, "--split")
    if lesion_labels:
        values["lesion_labels"] = _label_values(lesion_labels)
    return values


def _label_values(text: str) -> tuple[int, ...]:
    """`1,2` -> (1, 2).

    Raises:
        SettingError: if a part is no whole number.
    """
    from ctseg.errors import SettingError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"--lesion-labels {text}: expected whole numbers joined by commas, as 1,2") from None


def resolve_settings(
    given: dict[str, Any], overrides: dict[str, Any], output: Path | None = None
) -> tuple[PreprocessSettings, Entry]:
    """Settings with the brain extractor's own filled in, and the extractor's plugin.

    Args:
        given: by flags.
        overrides: by `--set`.
        output: where an earlier slice set may know of which package an extractor was that is gone.

    Raises:
        SettingError, PluginError: naming what is unknown or out of bounds.
    """
    from ctseg.cli.run_plugin import explain_missing
    from ctseg.preprocess.settings import PreprocessSettings
    from ctseg.settings import resolve

    settings = resolve(PreprocessSettings, given, overrides, where="preprocess", listed_by="ctseg settings preprocess")
    explain_missing(common.registry(), "brain_extractor", settings.brain_extractor, output)
    entry = common.registry().get("brain_extractor", settings.brain_extractor)
    own = entry.resolve(settings.brain_extractor_settings)
    return settings.model_copy(update={"brain_extractor_settings": own}), entry


def _summary(report: PreprocessReport, output: Path) -> dict[str, Any]:
    return {
        "output": str(output), "domain": report.domain, "cases": report.cases, "slices": report.slices,
        "failed": dict(report.failed), "empty": report.empty, "rejected": dict(report.rejected), "notes": report.notes,
        "patient_rule": report.patient_rule, "label_values": report.label_values,
        "lesion_labels": report.lesion_labels,
    }  # fmt: skip


def _lines(report: PreprocessReport, output: Path) -> list[str]:
    from ctseg.preprocess.ct import NO_BRAIN

    lines = [report.patient_rule, *_label_lines(report), *report.label_notes, *_grouped(report.notes)]
    lines += [one_line(f"left out: {name}: {reason}") for name, reason in report.rejected]
    lines += [f"no slice kept: {case}" for case in report.empty]
    lines += [f"FAILED {case}: {reason}" for case, reason in report.failed]
    if any(NO_BRAIN in reason for _, reason in report.failed):
        lines.append("where no brain was found, another extractor may: see `ctseg plugins`, --brain")
    return [*lines, f"{report.slices} {report.domain} slices of {report.cases} scans -> {output}"]


def _label_lines(report: PreprocessReport) -> list[str]:
    """Which label values were found, and which of them count as lesion."""
    from ctseg.wording import label_values

    if not report.label_values:
        return ["no label marks a lesion in any scan: is it the right folder of masks?"] if report.labelled else []
    return [label_values(report.label_values, "scan", report.lesion_labels)]


def _grouped(notes: dict[str, tuple[str, ...]]) -> list[str]:
    """One line for each different note, with the cases it is about."""
    from ctseg.preprocess.page import by_note

    return [
        f"{cases[0]}: {text}" if len(cases) == 1 else f"{len(cases)} scans ({cases[0]}, ...): {text}"
        for text, cases in by_note(notes).items()
    ]
