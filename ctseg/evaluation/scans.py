"""The scans behind the report's pictures: in folders that are given, or where a segmentation remembers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ctseg.errors import CtsegError, InputError
from ctseg.evaluation.cases import Job, Matching
from ctseg.evaluation.grids import may_be_partial
from ctseg.files import read_json
from ctseg.inference.remembered import RememberedScans
from ctseg.inference.results import DETAILS
from ctseg.inference.scans import find_scans
from ctseg.inference.slice_set import slice_volume, slices_by_case, slices_digest
from ctseg.io.case import Case
from ctseg.io.digest import input_digest
from ctseg.io.discover import read_case
from ctseg.io.kinds import NIFTI
from ctseg.io.mask_places import disagree, names_in
from ctseg.io.named_masks import named_case
from ctseg.io.nifti.volumes import read_nifti
from ctseg.io.slices import SliceSet, open_slices
from ctseg.io.volume import Volume
from ctseg.parallel import attempt
from ctseg.progress import ProgressCallback

MOVED = "its scan is not where it was segmented from; give --images"
CHANGED = "its scan is not the one that was segmented"
APART = "the scan of its name lies in {}, and its mask in {}"
SEVERAL = "several scans of its name were given"
UNREADABLE = (CtsegError, OSError, MemoryError)


class Scans:
    """Finds the scan of a case.

    In what is given, a scan belongs to the case of its name, unless their folders disagree; else to the one whose DICOM
    reference names its series, or whose mask `ctseg segment` made from the same bytes. Without one there, the scan is
    looked for where the segmentation has read it.
    """

    def __init__(
        self,
        matching: Matching,
        images: Sequence[Path] = (),
        *,
        workers: int = 0,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Look into what is given.

        Args:
            matching: the masks.
            images: what `ctseg segment` takes: DICOM folders, zips, NIfTI files and folders, or one slice set.
            workers: processes for DICOM headers.
            progress: called while headers are read.

        Raises:
            InputError: if nothing that is given holds a scan.
        """
        self.images = tuple(images)
        self._jobs = matching.jobs
        names = [job.case for job in matching.jobs]
        named = {name: found for name in names if (found := _named_files(name, self.images))}
        self.files = {name: found[0] for name, found in named.items() if len(found) == 1}
        self.refused: dict[str, str] = {name: SEVERAL for name, found in named.items() if len(found) > 1}
        """Case -> why no scan that has its name is taken."""
        self.found: dict[str, Case] = {}
        self._cases: dict[str, Case | None] = {}
        self.slices: SliceSet | None = None
        if self.images and len(self.files) < len(names):
            self._discover(workers, progress)
        folders = {path.parent: None for job in matching.jobs for path in job.preds[::-1] if path is not None}
        self.segmentations = {folder: _Segmentation(folder) for folder in folders}

    def _discover(self, workers: int, progress: ProgressCallback | None) -> None:
        try:
            found = find_scans(self.images, workers=workers, progress=progress)
        except InputError:
            if not self.files:
                raise
            return
        if isinstance(found, SliceSet):
            self.slices = found
        else:
            self.found = {case.case_id: case for case in found.cases}
            self.refused |= self._apart()

    def _apart(self) -> dict[str, str]:
        """Case -> what is said where its folders and those of the scan of its name disagree."""
        above = {case.case_id: self._folders_of(case) for case in self.found.values()}
        own = {job.case: job.folders for job in self._jobs}
        sides = names_in(own), names_in(above)
        both = {name: disagree(own[name], above[name], *sides) for name in own if name in above}
        return {name: APART.format(*found[::-1]) for name, found in both.items() if found is not None}

    def _folders_of(self, case: Case) -> tuple[str, ...]:
        """The folders above a scan below what was given; none of DICOM, whose names come from what it says itself."""
        file = case.files[0]
        roots = [path for path in self.images if path.is_dir() and file.is_relative_to(path)]
        return file.parent.relative_to(roots[0]).parts if roots and case.kind != "dicom" else ()

    def knows(self, job: Job) -> bool:
        """Whether there should be a scan of a case."""
        if job.case in self._slice_rows or self.case(job) is not None:
            return True
        return any(job.case in item.memory for item in self._origins(job))

    def case(self, job: Job) -> Case | None:
        """The scan of a case in what is given, to be read later; None where there is none, or it is a slice set's."""
        if job.case not in self._cases:  # a reference's header, and all scans' digests, may be read for it
            self._cases[job.case] = self._find(job)
        return self._cases[job.case]

    def _find(self, job: Job) -> Case | None:
        if job.case in self.files:
            return Case(job.case, job.patient, "nifti", "ct", (self.files[job.case],))
        named = None if job.case in self.refused else self.found.get(job.case)
        return named or self._named_by_reference(job) or self._same_bytes(job)

    def volume(self, job: Job) -> tuple[Volume | None, str]:
        """The scan of a case in HU; or None and, where there should be one, the reason."""
        try:
            return self._volume(job)
        except UNREADABLE:
            return None, f"{self.name(job)} cannot be read"

    def name(self, job: Job) -> str:
        """What a remark calls the scan of a case: its file where that has the case's own name."""
        return self.files[job.case].name if job.case in self.files else "its scan"

    def _volume(self, job: Job) -> tuple[Volume | None, str]:
        given = self._given(job)
        if given is not None:
            return given, ""
        outcomes = [item.volume(job.case) for item in self._origins(job) if job.case in item.memory]
        if not outcomes:
            return None, self.refused.get(job.case, "no scan of this name") if self.images else ""
        return next((outcome for outcome in outcomes if outcome[0] is not None), outcomes[0])

    def _given(self, job: Job) -> Volume | None:
        """The scan of a case in what is given."""
        if job.case in self.files:
            return read_nifti(self.files[job.case], domain="ct", case_id=job.case)
        if self.slices is not None:
            rows = self._slice_rows.get(job.case)
            return None if rows is None else slice_volume(self.slices, job.case, rows)
        found = self.case(job)
        return None if found is None else read_case(found)

    def _named_by_reference(self, job: Job) -> Case | None:
        """The scan whose patient and series a DICOM mask names, whatever its file is called."""
        return self.found.get(named_case(job.ref)) if self.found and may_be_partial(job.ref) else None

    @cached_property
    def _slice_rows(self) -> Mapping[str, Any]:
        return {} if self.slices is None else slices_by_case(self.slices)

    @cached_property
    def _by_digest(self) -> dict[str, Case]:
        """Every scan that was found by the digest of its bytes; read only where a case has no scan of its name."""
        digests = ((case, attempt(input_digest, case)) for case in self.found.values())
        return {digest: case for case, digest in digests if isinstance(digest, str)}

    def _same_bytes(self, job: Job) -> Case | None:
        """A scan that was found under another name, but is the one that a mask was made from."""
        digests = {item.digests.get(job.case, "") for item in self._origins(job)} - {""} if self.found else set()
        return next((self._by_digest[digest] for digest in sorted(digests) if digest in self._by_digest), None)

    def _origins(self, job: Job) -> list[_Segmentation]:
        """Of the last model first, which is the one that pictures are of."""
        return [self.segmentations[path.parent] for path in job.preds[::-1] if path is not None]


def with_scans(matching: Matching, scans: Scans) -> Matching:
    """The masks, with the scans that were given of those cases where neither side may have the whole grid."""

    def with_scan(job: Job) -> Job:
        sides = (job.ref, *job.preds)
        parts = [side is None or may_be_partial(side) for side in sides]
        return replace(job, scan=scans.case(job)) if parts[0] and any(parts[1:]) else job

    return replace(matching, jobs=tuple(with_scan(job) for job in matching.jobs))


def _named_files(case: str, images: Sequence[Path]) -> list[Path]:
    """`CASE.nii.gz` or `CASE.nii` in the folders, the first of each, and such files themselves."""
    names, found = [f"{case}{suffix}" for suffix in NIFTI[::-1]], dict[Path, Path]()
    for path in images:
        files = [path] if path.is_file() else [path / name for name in names]
        file = next((file for file in files if file.name in names and file.is_file()), None)
        if file is not None:
            found.setdefault(file.resolve(), file)
    return list(found.values())


class _Segmentation:
    """What `ctseg segment` says beside its masks: which scans they were made from. Of other tools' masks, nothing."""

    def __init__(self, folder: Path) -> None:
        self.memory = RememberedScans(folder)
        self.digests = _digests_in(folder / DETAILS)

    def volume(self, name: str) -> tuple[Volume | None, str]:
        """The scan where it was read, if it is still there and the same."""
        case = self.memory.find(name)
        if case is None:
            return None, MOVED
        volume, digest = _of_slices(case) if case.kind == "slices" else (None, input_digest(case))
        if digest != self.digests.get(name):
            return None, CHANGED
        return (read_case(case) if volume is None else volume), ""


def _of_slices(case: Case) -> tuple[Volume | None, str]:
    """A case of a slice set, and its digest."""
    slices = open_slices(case.files[0])
    rows = slices_by_case(slices).get(case.case_id)
    return (None, "") if rows is None else (slice_volume(slices, case.case_id, rows), slices_digest(slices, rows))


def _digests_in(path: Path) -> dict[str, str]:
    """Case -> digest of the scan that its mask was made from; a broken file is passed over: it decides no number."""
    try:
        data = read_json(path) if path.is_file() else {}
    except InputError:
        return {}
    rows = data.get("cases") if isinstance(data, dict) else None
    texts = [_case_and_input(row) for row in rows] if isinstance(rows, list) else []
    return dict(text for text in texts if text is not None)


def _case_and_input(row: Any) -> tuple[str, str] | None:
    case, digest = (row.get("case"), row.get("input")) if isinstance(row, dict) else (None, None)
    return (case, digest) if isinstance(case, str) and isinstance(digest, str) else None
