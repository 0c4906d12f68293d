"""Preprocess the cases of one slice set together with other calls of the same command: `--share`.

What a case gave is kept beside the output until all are done; then one of the calls writes the set, in the order of
the cases, so its bytes are those of a call that works alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pandas as pd

from ctseg.errors import OutputExistsError
from ctseg.files import bounded, read_json
from ctseg.io.case import Case, Discovery
from ctseg.io.digest import glance
from ctseg.io.input_digests import file_digest, text_digest
from ctseg.io.mask_files import files_of
from ctseg.outputs import Output, recover, whole_folder
from ctseg.outputs.claims import MOST_DEATHS
from ctseg.outputs.leftovers import filled
from ctseg.outputs.sharing import FINISH, Share, SpoiltRecordError, sharing
from ctseg.parallel import Failure
from ctseg.preprocess.cases import CaseSlices
from ctseg.preprocess.pipeline import Outcome, Plan, PreprocessReport, outcomes_of, plan, write_set
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.progress import ProgressCallback
from ctseg.same_code import CODE, codes_of

MOST_OUTCOME = 1 << 32
"""Bytes of what a case gave: 4000 slices of 512 x 512 with masks are half of it."""
KILLED = f"{MOST_DEATHS} processes were killed while they worked on this case, often for lack of memory"


def preprocess_together(
    discovery: Discovery,
    place: Output,
    settings: PreprocessSettings,
    made_of: Mapping[str, Any],
    *,
    workers: int = 0,
    executor: Executor | None = None,
    progress: ProgressCallback | None = None,
) -> PreprocessReport:
    """Prepare what no other call does, until all is done by whomever.

    Args:
        discovery: what `ctseg.io.discover.discover` found.
        place: the output, guarded with `share`.
        settings: what to make.
        made_of: the other arguments of `ctseg.preprocess.pipeline.plan`.
        workers: processes of this call.
        executor: used instead of own processes.
        progress: called with (done by this call, total, case_id).

    Returns:
        What became of the cohort, whoever did it.

    Raises:
        InputError: if other calls share the output for other scans, settings or with another version, one that does
            not share writes there, or no slice is left.
        OutputExistsError: if the output holds another slice set.
    """
    made = plan(discovery, settings, **made_of)
    key = _key(made, made_of)
    with sharing(place, key, "scans, settings, plugin or code of ctseg") as share:
        if share is not None:
            _refuse_other(place, share)
            names = {case.case_id: case for case in made.cases}
            mine = _Progress(progress, len(names))
            work = partial(_take_part, made, share, names, min(workers, len(names)), executor, mine)
            share.cases(list(names), work, partial(_give_up, share))
            share.once(FINISH, partial(_finish, made, share, place, key))
    return _read_report(place.path, made)


def _refuse_other(place: Output, share: Share) -> None:
    if filled(place.real) and not share.finished():
        raise OutputExistsError(f"{place.path}: holds another slice set; choose another output, or remove it first")


class _Progress:
    """Counts the cases of this call."""

    def __init__(self, callback: ProgressCallback | None, total: int) -> None:
        self.callback, self.total, self.done = callback, total, 0

    def advance(self, case: str) -> None:
        """One more is done."""
        self.done += 1
        if self.callback is not None:
            self.callback(self.done, self.total, case)


def _key(made: Plan, made_of: Mapping[str, Any]) -> str:
    """What calls have to have in common to share."""
    tables = {name: file_digest(made_of[name]) for name in ("labels", "splits") if made_of.get(name) is not None}
    settings = made.task.settings.model_dump(mode="json")
    text = json.dumps([made.domain, settings, tables, codes_of(made.task.extractor)], sort_keys=True)
    return text_digest(f"preprocess {CODE} {text} {glance(made.cases, _mask_files(made))}")


def _mask_files(made: Plan) -> list[Path]:
    """All that lies in the folder of masks, and in folders below."""
    folder = made.task.masks
    below = [] if folder is None else [path for path in folder.rglob("*") if path.is_file()]
    return sorted({*below, *(path for mask in made.masks.values() for path in files_of(mask))})


def _take_part(
    made: Plan,
    share: Share,
    cases: Mapping[str, Case],
    workers: int,
    executor: Executor | None,
    progress: _Progress,
    names: Iterator[str],
) -> None:
    with closing(outcomes_of(made, (cases[name] for name in names), workers, executor)) as outcomes:
        for case, outcome in outcomes:
            if share.claims.publish(case.case_id, partial(save_outcome, outcome=outcome)):
                progress.advance(case.case_id)


def _give_up(share: Share, name: str) -> None:
    share.claims.publish(name, partial(save_outcome, outcome=Failure(f"{name}: {KILLED}")))


def _stored(made: Plan, share: Share) -> Iterator[tuple[Case, Outcome]]:
    return ((case, _load(share.claims.record(case.case_id), case)) for case in made.cases)


def _finish(made: Plan, share: Share, place: Output, key: str) -> None:
    """Once: the set, whole or not at all; what cannot become a set is not worth keeping."""
    recover(place.real, place.say)  # what a killed process left that tried the same
    with share.abandoned_on_error(), whole_folder(place, inputs={"share": key}, alone=False) as folder:
        write_set(made, folder, _stored(made, share))


def _read_report(folder: Path, made: Plan) -> PreprocessReport:
    """What a finished set says of the cohort it was made of."""
    info = read_json(folder / "dataset.json")
    report = PreprocessReport(made.domain, info["cases"], info["counts"]["slices"], rejected=made.report.rejected)
    report.failed = [(item["case_id"], item["reason"]) for item in info["failed"]]
    report.empty, report.inputs, report.patient_rule = info["empty"], info["inputs"], info["patient_rule"]
    report.notes = {case: tuple(notes) for case, notes in info["notes"].items()}
    report.label_notes, report.lesion_labels = tuple(info["label_notes"]), tuple(info["lesion_labels"])
    report.label_values = {int(value): scans for value, scans in info["label_values"].items()}
    return report


def save_outcome(path: Path, outcome: Outcome) -> None:
    """Write what became of a case as a .npz file without pickle, whatever its name."""
    if isinstance(outcome, Failure):
        arrays: dict[str, Any] = {"error": np.array(outcome.error), "traceback": np.array(outcome.traceback)}
    else:
        known = {"case_id": outcome.case_id, "notes": outcome.notes, "label_values": outcome.label_values}
        types = {name: str(kind) for name, kind in outcome.table.dtypes.items()}
        arrays = {
            "images": outcome.images,
            "known": np.array(json.dumps({**known, "digest": outcome.digest, "types": types})),
            **({} if outcome.masks is None else {"masks": outcome.masks}),
            **{f"column_{name}": _plain(outcome.table[name]) for name in outcome.table.columns},
        }  # fmt: skip
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _plain(column: pd.Series) -> np.ndarray[Any, Any]:
    """Numbers as they are, those that may be missing as floats, everything else as text."""
    if pd.api.types.is_extension_array_dtype(column.dtype) and pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    return column.to_numpy() if pd.api.types.is_numeric_dtype(column.dtype) else column.to_numpy(dtype=str)


def _load(path: Path, case: Case) -> Outcome:
    """`load_outcome` of a file that others can have put there.

    Raises:
        SpoiltRecordError: if it is none, or another case's.
    """
    try:
        with ZipFile(bounded(path, MOST_OUTCOME)) as archive:
            if any(item.compress_type != ZIP_STORED for item in archive.infolist()):
                raise SpoiltRecordError(path)  # it could swell
        outcome = load_outcome(path)
    except OSError:
        raise
    except Exception:
        raise SpoiltRecordError(path) from None
    if isinstance(outcome, CaseSlices) and not _fits(outcome, case):
        raise SpoiltRecordError(path)
    return outcome


def _fits(outcome: CaseSlices, case: Case) -> bool:
    """Whether slices are those of a case, as many as rows."""
    images, masks = outcome.images, outcome.masks
    return (
        outcome.case_id == case.case_id
        and images.ndim == 3
        and images.dtype == np.uint8
        and len(images) == len(outcome.table)
        and (masks is None or (masks.dtype == np.uint8 and masks.shape == images.shape))
    )


def load_outcome(path: Path) -> Outcome:
    """Read what `save_outcome` wrote."""
    with np.load(path, allow_pickle=False) as file:
        if "error" in file:
            return Failure(str(file["error"]), str(file["traceback"]))
        known = json.loads(str(file["known"]))
        table = pd.DataFrame(
            {name: pd.Series(file[f"column_{name}"]).astype(kind) for name, kind in known["types"].items()}
        )
        masks = file.get("masks")
        notes, values = tuple(known["notes"]), tuple(known["label_values"])
        return CaseSlices(known["case_id"], file["images"], masks, table, notes, values, known["digest"])
