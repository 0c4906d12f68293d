"""The paper's pictures beside its tables: pseudo-CT of every synthesis system (Figure 11), segmentations (8), others.

Slices are chosen by names and by the truth, never by a result. What is missing is a blank tile that says why, and no
figure ever keeps a table from being written.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.errors import CtsegError
from ctseg.evaluation.grids import read_mask
from ctseg.io.slices import SliceSet, open_slices
from ctseg.metrics.overlap import dice_of
from ctseg.render.png import write_png
from ctseg.render.sheet import Tile, draw_sheet
from ctseg.render.slices import WINDOW_HU, Outline
from ctseg_reproduce.chart_figures import STAGES, SUBSETS, stages_figure, subsets_figure
from ctseg_reproduce.example_slices import ExampleSlice, Progress, read_examples
from ctseg_reproduce.matching_figures import FINGERPRINT, PAIRS, fingerprint_figure, pairs_figure
from ctseg_reproduce.run import Request
from ctseg_reproduce.source_slices import PATIENTS, brain_box, largest_lesions, spacing_mm
from ctseg_reproduce.stages import is_done
from ctseg_reproduce.systems import ROWS, SYNTHESIS, AnyRow, Row
from ctseg_reproduce.table import Result, TableFigure

Scores = Mapping[str, Mapping[Hashable, Any]]
"""Case -> its line of `cases.csv`."""
PSEUDO_CT, SEGMENTATIONS = "pseudo-ct", "segmentations"


def write_figures(
    request: Request,
    results: Sequence[Result],
    say: Callable[[str], object] = str,
    progress: Progress = lambda *_: None,
) -> list[TableFigure]:
    """Draw what belongs to a table, each PNG beside it: Figures 4, 5, 11 for Table 2, 10 for 3, 9 for 4, and 8 for all.

    They show the lowest seed that any row was run with in this folder: imported outcomes have no pictures.

    Args:
        request: what `ctseg reproduce` was asked for.
        results: the table's rows.
        say: is called with the reason why a figure could not be drawn.
        progress: is called with (done, total, case) while test scans are read.

    Returns:
        The figures that were drawn; none before the first row is finished.
    """
    seed = _seed(request, results)
    if seed is None:
        return []
    drawers = _drawers(request, results, seed, progress)
    drawn = []
    for name, draw in drawers.items():
        try:
            drawn.append(draw())
        except Exception as error:  # hours of results must not be lost for a picture
            say(f"{request.stem}-{name}.png could not be drawn: {error}")
    return drawn


def _drawers(
    request: Request, results: Sequence[Result], seed: int, progress: Progress
) -> dict[str, Callable[[], TableFigure]]:
    """The figures that belong to a table, by name; those of stages that are not here are left out."""
    found: dict[str, Callable[[], TableFigure]] = {}
    if request.table == "table2":
        if is_done(request.root, request.plan.target(seed)[1]):
            found |= {
                FINGERPRINT: lambda: fingerprint_figure(request, seed),
                PAIRS: lambda: pairs_figure(request, seed),
            }
        found[PSEUDO_CT] = lambda: pseudo_cts(request, seed)
    if request.table == "table3":
        found[STAGES] = lambda: stages_figure(request, results)
    if request.table == "table4" and is_done(request.root, request.plan.source_subsets(seed)):
        found[SUBSETS] = lambda: subsets_figure(request, seed)
    return {**found, SEGMENTATIONS: lambda: segmentations(request, results, seed, progress)}


def _seed(request: Request, results: Sequence[Result]) -> int | None:
    seeds = sorted({item.seed for result in results for item in result.outcomes})
    return next((seed for seed in seeds if any(_is_here(request, item.row, seed) for item in results)), None)


def _is_here(request: Request, row: AnyRow, seed: int) -> bool:
    """Whether a row segmented the test scans in this folder; k-fold rows segment slice sets."""
    can = isinstance(row, Row) and request.plan.can_run(row)
    return can and is_done(request.root, request.plan.row(row, seed))


def pseudo_cts(request: Request, seed: int) -> TableFigure:
    """`TABLE-pseudo-ct.png`: MR of held-out patients beside what each synthesis system makes of it.

    Raises:
        InputError: if the source set is not there.
    """
    source = open_slices(request.root / request.plan.inputs.of_seed(seed).source)
    chosen, split = largest_lesions(source)
    columns = [_mr_tiles(source, chosen)]
    columns += [_pseudo_tiles(request, name, seed, source, chosen) for name in SYNTHESIS]
    titles = ["MR and its mask", *(ROWS[name].title for name in SYNTHESIS)]
    foot = (
        f"Seed {seed}. Source slices of {split}: the first with a lesion in name order, at most {PATIENTS}, each with "
        "the slice of its largest lesion; no result was looked at. Orange: the MR mask, drawn around the lesion. All "
        f"pseudo-CT in one window ({_window(request, seed)}). Anterior up, the patient's right at the left."
    )
    path = request.root / f"{request.stem}-{PSEUDO_CT}.png"
    return _drawn(path, "Pseudo-CT of every synthesis system", "Figure 11", titles, columns, foot)


def _drawn(path: Path, title: str, like: str, titles: list[str], columns: list[list[Tile]], foot: str) -> TableFigure:
    write_png(path, draw_sheet(list(zip(*columns, strict=True)), titles, foot=foot))
    return TableFigure(path, title, f"As the paper's {like}.")


def _mr_tiles(source: SliceSet, rows: Sequence[int]) -> list[Tile]:
    table = source.table
    notes = [f"{table['patient_id'][row]}, slice {table['index'][row]}" for row in rows]
    return [_slice_tile(source, row, source, row, note) for row, note in zip(rows, notes, strict=True)]


def _pseudo_tiles(request: Request, name: str, seed: int, source: SliceSet, rows: Sequence[int]) -> list[Tile]:
    stage = request.plan.synthesis(name, seed)
    if not is_done(request.root, stage):
        return [Tile(note=f"not made with seed {seed}")] * len(rows)
    try:
        made = open_slices(request.root / stage.folder / "pseudo-ct")
        found = made.ids_to_rows([str(source.slice_ids[row]) for row in rows])
        return [_slice_tile(made, there, source, row) for there, row in zip(found.tolist(), rows, strict=True)]
    except (CtsegError, OSError) as error:
        return [Tile(note=str(error))] * len(rows)


def _slice_tile(drawn: SliceSet, place: int, source: SliceSet, row: int, note: str = "") -> Tile:
    mask = source.require_masks("figures show them")[row] > 0
    box = brain_box(source.images[row])
    return Tile(np.asarray(drawn.images[place])[box], (Outline(mask[box]),), note, spacing_mm(source, row))


def _window(request: Request, seed: int) -> str:
    """HU of black and white in the target set."""
    intensity = open_slices(request.root / request.plan.target(seed)[0]).info["intensity"]
    slope, offset = intensity.get("a"), intensity.get("b")
    return f"{(0 - offset) / slope:.0f} to {(255 - offset) / slope:.0f} HU" if slope else "that of the target set"


def segmentations(request: Request, results: Sequence[Result], seed: int, progress: Progress) -> TableFigure:
    """`TABLE-segmentations.png`: test slices with the truth and with each row's segmentation, if it was ever run.

    Raises:
        CtsegError: if the test scans or their truth are not there.
    """
    inputs = request.plan.inputs.of_seed(seed)
    examples = read_examples(request.root, request.root / inputs.test, request.root / inputs.truth, progress)
    window = f"{WINDOW_HU[0]:.0f} to {WINDOW_HU[1]:.0f} HU"
    columns = [[_scan_tile(item, False) for item in examples], [_scan_tile(item, True) for item in examples]]
    begun = [item for item in results if (item.outcomes or item.failed) and isinstance(item.row, Row)]
    columns += [_row_tiles(request, result, seed, examples) for result in begun]
    titles = [f"CT, {window}", "Truth", *(result.row.title for result in begun)]
    foot = (
        f"Seed {seed}. Test patients: the first in name order with a haemorrhage, each with the slice of its largest "
        "true area, and the first without one, in the middle of the scan; no result was looked at. Orange: outlines, "
        "drawn around what they enclose. Dice and mL are those of the whole scan, in brackets the Dice of the part "
        "shown. Anterior up."
    )
    path = request.root / f"{request.stem}-{SEGMENTATIONS}.png"
    return _drawn(path, "Segmentations of every row", "Figure 8", titles, columns, foot)


def _scan_tile(item: ExampleSlice, with_truth: bool) -> Tile:
    if item.image is None:
        return Tile(note=item.why)
    choice = item.choice
    truth = f"haemorrhage of {choice.ml:.1f} mL" if choice.ml else "no haemorrhage"
    note = truth if with_truth else f"{choice.case}, slice {choice.index + 1} of {choice.shape[0]}"
    outlines = (Outline(item.truth),) if with_truth and item.truth is not None else ()
    return Tile(item.image, outlines, note, item.spacing_mm, item.sides)


def _row_tiles(request: Request, result: Result, seed: int, examples: Sequence[ExampleSlice]) -> list[Tile]:
    """A row's segmentation on each slice."""
    if not _is_here(request, result.row, seed):
        return [Tile(note=_why_not(result, seed))] * len(examples)
    folder = request.root / request.plan.row(result.row, seed).folder
    table = pd.read_csv(folder / "evaluation" / "cases.csv")
    scores = {str(line["case"]): line for line in table.to_dict("records")}
    return [_found_tile(item, folder / "masks" / f"{item.choice.case}.nii.gz", scores) for item in examples]


def _why_not(result: Result, seed: int) -> str:
    failed = next((text for text in result.failed if text.startswith(f"seed {seed}:")), "")
    elsewhere = any(item.seed == seed for item in result.outcomes)
    return failed or (f"seed {seed} was made in another folder" if elsewhere else f"not run with seed {seed}")


def _found_tile(item: ExampleSlice, path: Path, scores: Scores) -> Tile:
    if item.image is None:
        return Tile(note=item.why)
    try:
        mask: NDArray[np.bool_] = read_mask(path).mask
    except (CtsegError, OSError) as error:
        return Tile(note=str(error))
    if mask.shape != item.choice.shape:
        return Tile(note=f"{path.name} is on another grid than the scan")
    found = item.cut(mask)
    return Tile(item.image, (Outline(found),), _score(item, found, scores), item.spacing_mm, item.sides)


def _score(item: ExampleSlice, found: NDArray[np.bool_], scores: Scores) -> str:
    line = scores.get(item.choice.case)
    if line is None or line["status"] != "ok":
        return "not evaluated"
    if not item.choice.ml or item.truth is None:
        return f"{line['pred_ml']:.1f} mL segmented"
    return f"Dice {line['dice']:.2f} ({dice_of(found, item.truth):.2f})"
