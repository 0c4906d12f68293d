"""`ctseg match`: slices become pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ctseg.cli import common, completion
from ctseg.errors import InputError, SettingError

if TYPE_CHECKING:
    import pandas as pd

    from ctseg.io.slices import SliceSet
    from ctseg.matching.described import DescribedSet
    from ctseg.matching.pairs import Direction
    from ctseg.outputs import Mark
    from ctseg.plugins.host import Entry
    from ctseg.plugins.protocols import SimilarityMetric


Similarity = Annotated[
    str,
    typer.Option(
        "--similarity",
        help="Similarity metric; see `ctseg plugins`.",
        autocompletion=completion.plugins_of("similarity_metric"),
    ),
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="HTML page to write: pairs side by side, distances, uses.")
]


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("match")(match)


def match(
    source: common.Source,
    target: common.Target,
    output: Annotated[Path, typer.Option("--output", "-o", help="pairs.csv to write; - for stdout.")],
    similarity: Similarity = "amd",
    top: Annotated[
        int, typer.Option("--top", min=0, help="Pairs for each slice; 0: the paper's share of the slices.")
    ] = 0,
    direction: Annotated[
        Literal["source", "target"],
        typer.Option(
            "--direction", help="source: targets for each source slice (stage 1); target: sources for each target."
        ),
    ] = "source",
    split: Annotated[
        str,
        typer.Option(
            "--split", help="Pair the slices of this split; all for every slice.", autocompletion=completion.splits
        ),
    ] = "train",
    report: ReportFile = None,
    settings: common.Set = [],  # noqa: B006 - typer copies it
    scheduler: common.Scheduler = "",
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Pair each MR slice with the most similar CT slices, or each CT slice with its MR slice."""
    import sys
    from contextlib import nullcontext

    from ctseg.io.input_digests import set_digests_beside
    from ctseg.matching.cluster import spread
    from ctseg.matching.pairs import is_pairs_header, write_pairs
    from ctseg.outputs import Mark, guard_file, sole
    from ctseg.settings import parse_overrides

    to_file = _is_file(output, as_json)
    chosen = parse_overrides(settings)
    entry = common.registry().get("similarity_metric", similarity)
    built = entry.build(chosen)
    if to_file:
        guard_file(output, is_pairs_header, inputs=(source, target), overwrite=overwrite, say=common.say)
    _guard_report(report, output, (source, target), overwrite=overwrite)
    sets = _open_sets(source, target, output if to_file else None)
    _fit_threshold(built, sets[1], chosen)
    with (
        set_digests_beside({"source": sets[0], "target": sets[1]}) as digests,
        sole(output) if to_file else nullcontext(),
        common.executor(scheduler) as executor,
    ):
        pairs = _paired(sets, spread(built, executor), entry, _part(split), top, direction)
        made_of = digests()
        if to_file:
            _write(pairs, output, Mark("match", (output.name,), inputs=made_of))
        else:
            write_pairs(pairs, sys.stdout)
    summary = {**_counts(pairs, direction), "similarity": similarity, "output": str(output), "inputs": made_of}
    lines = _outcome(summary, sets, pairs, direction) + _report(report, made_of, pairs, sets, direction, _part(split))
    common.finish(summary, lines, as_json)


def _fit_threshold(metric: SimilarityMetric, target: SliceSet, chosen: Mapping[str, object]) -> None:
    """Have a built-in metric take the same density for haemorrhage in every window of HU.

    Raises:
        SettingError: if the slices' window does not reach that density.
    """
    from ctseg.matching.metrics import LESION_GREY, FingerprintMetric, lesion_grey

    if not isinstance(metric, FingerprintMetric) or "threshold" in chosen:
        return
    grey = lesion_grey(target.info["settings"])
    if not 0 < grey < 255:
        raise SettingError(
            f"{target.folder}: its window of HU does not reach 47 HU, above which CT counts as haemorrhage here; "
            "preprocess with a wider --window, or choose a grey value with --set threshold=N"
        )
    if grey != LESION_GREY:
        common.say(f"note: above {grey} of 255 CT counts as haemorrhage: 47 HU, as {LESION_GREY} is from 0 to 100 HU")
    metric.threshold = grey


CROWDED = 0.25
"""Share of all pairs in which one slice raises the question whether pairs mean anything."""
LEAST_PAIRS = 40
"""Fewer say nothing about that."""


def _most_used(pairs: pd.DataFrame, direction: Direction) -> tuple[str, float]:
    """The slice that most pairs have on the side that was searched, and its share of them."""
    if not len(pairs):
        return "", 0.0
    counts = pairs["target_id" if direction == "source" else "source_id"].value_counts()
    return str(counts.index[0]), float(counts.iloc[0] / len(pairs))


def _outcome(
    summary: Mapping[str, object], sets: tuple[SliceSet, SliceSet], pairs: pd.DataFrame, direction: Direction
) -> list[str]:
    """What was paired, and a warning where one slice is in many of the pairs."""
    made = f"{summary['pairs']} pairs of {summary['sources']} {sets[0].kind} and {summary['targets']} CT slices"
    lines = [f"{made} -> {summary['output']}"]
    name, share = _most_used(pairs, direction)
    if len(pairs) >= LEAST_PAIRS and share >= CROWDED:
        kind = sets[1 if direction == "source" else 0].kind
        lines.append(
            f"warning: {100 * share:.0f} % of the pairs have one {kind} slice, {name}; look at them with --report, and "
            "see docs/method-matching.md"
        )
    return lines


def _part(split: str) -> str | None:
    """The split that is paired; None for every slice."""
    return None if split == "all" else split


def _report(
    report: Path | None, made_of: dict[str, dict[str, str]], pairs: pd.DataFrame, sets: tuple[SliceSet, SliceSet],
    direction: Direction, part: str | None,
) -> list[str]:  # fmt: skip
    """Write the page of the pairs with its mark, if one is asked for; gives the line that says so."""
    if report is None:
        return []
    from ctseg.matching.pictures import Paired, match_page
    from ctseg.outputs import Mark, sole, write_file_output

    page = match_page(Paired.of(pairs, *sets, direction, part))
    with sole(report):
        write_file_output(report, Mark("match", (report.name,), inputs=made_of), page.write, common.say)
    return [f"report: {report}"]


def _guard_report(report: Path | None, output: Path, inputs: tuple[Path, Path], *, overwrite: bool) -> None:
    """Refuse a page that would replace something else.

    Raises:
        InputError, OutputExistsError, SettingError: naming the file.
    """
    from ctseg.outputs import guard_file
    from ctseg.render.page import is_page

    if report is None:
        return
    if report.resolve() == output.resolve():
        raise SettingError(f"--report {report}: is the file for the pairs; give it a name of its own")
    guard_file(report, lambda _: is_page(report), inputs=inputs, overwrite=overwrite, say=common.say)


def _is_file(output: Path, as_json: bool) -> bool:
    """Whether pairs go to a file.

    Raises:
        SettingError: if pairs and JSON would share stdout.
    """
    if str(output) != "-":
        return True
    if as_json:
        raise SettingError("--json and -o - both write to stdout; give -o a file, or leave --json out")
    return False


def _open_sets(source: Path, target: Path, output: Path | None) -> tuple[SliceSet, SliceSet]:
    """Both slice sets; of raw scans, one is made beside the output."""
    from ctseg.cli.raw_sets import as_slice_set
    from ctseg.io.slices import check_same_size, check_target

    folders = as_slice_set(source, "--src", output), as_slice_set(target, "--tgt", output)
    if folders != (source, target):
        common.say(f"for the next commands: --src {folders[0]} --tgt {folders[1]}")
    sets = common.open_set(folders[0]), common.open_set(folders[1])
    check_target(sets[1], sets[0])
    if sets[0].folder.resolve() == sets[1].folder.resolve():
        raise InputError(f"--tgt {folders[1]}: is the set behind --src, too; give the other domain's")
    check_same_size(*sets)
    return sets


def _described(
    sets: tuple[SliceSet, SliceSet], metric: SimilarityMetric, split: str | None
) -> tuple[DescribedSet, DescribedSet]:
    """Both sets described; masks of the target are never looked at."""
    from ctseg.matching.described import describe_set

    found = []
    with common.bar("Describing") as bar:
        rows = [len(slices.rows(split)) for slices in sets]
        for place, slices in enumerate(sets):

            def say(done: int, _total: int | None, _note: str, before: int = sum(rows[:place])) -> None:
                bar.update(before + done, sum(rows))

            found.append(describe_set(slices, metric, split, masked=not place, progress=say))
    return found[0], found[1]


def _paired(
    sets: tuple[SliceSet, SliceSet], metric: SimilarityMetric, entry: Entry, part: str | None, top: int,
    direction: Direction,
) -> pd.DataFrame:  # fmt: skip
    """The pairs of two sets, with bars; `entry` is the metric's plugin."""
    from ctseg.matching.pairs import pair_up
    from ctseg.plugins.called import call_of

    with call_of(entry.package, entry.who):
        described = _described(sets, metric, part)
        with common.bar("Matching", len(described[0 if direction == "source" else 1])) as bar:
            return pair_up(*described, metric, top or None, direction, bar.update)


def _write(pairs: pd.DataFrame, output: Path, mark: Mark) -> None:
    """Write pairs and their mark, both or neither; pairs that somebody has changed since are kept beside them.

    Raises:
        OSError: if the disk refuses either.
    """
    from ctseg.matching.pairs import write_pairs
    from ctseg.outputs import write_file_output

    write_file_output(output, mark, lambda path: write_pairs(pairs, path), common.say)


def _counts(pairs: pd.DataFrame, direction: Direction) -> dict[str, float]:
    from ctseg.matching.pairs import matched_ids

    return {
        "pairs": len(pairs),
        "sources": len(matched_ids(pairs)),
        "targets": int(pairs["target_id"].nunique()),
        "top": int(pairs["rank"].max()) if len(pairs) else 0,
        "largest_share": round(_most_used(pairs, direction)[1], 4),
    }
