"""Whole cases in worker processes: each reads, strips, runs the network and writes, with a copy of the models.

On a CPU the network and the files are most of the work. In the calling process alone they would keep it busy while the
workers wait. On a GPU the calling process has the device, and workers only read ahead of it (`prefetch`).
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ctseg.files import FULL
from ctseg.inference import WORKER_MODULES
from ctseg.inference.brain_cache import BrainMaskCache
from ctseg.inference.finish import failed_case, finish_case
from ctseg.inference.models import ModelGroup, all_models
from ctseg.inference.prepare import prepare_case
from ctseg.inference.results import CaseResult, case_files
from ctseg.inference.settings import SegmentSettings
from ctseg.io.case import Case
from ctseg.outputs.leftovers import clean_files, clean_some_files
from ctseg.parallel import Failure, attempt, ordered_map, unpacked
from ctseg.plugins.protocols import BrainExtractor

FEWEST = 4
"""Cases from which it pays that workers import torch, on systems where each has to."""


@dataclass(frozen=True)
class WholeCases:
    """What worker processes need to do whole cases."""

    parts: bytes
    """Pickled: the groups of models and the brain extractor, as they are in this process."""
    folders: tuple[Path, ...]
    """That workers write to beside the output."""
    workers: int

    def pays(self, cases: int) -> bool:
        """Whether there are enough cases for workers that load the models first."""
        return cases >= FEWEST

    def segmented(
        self, cases: Iterable[Case], count: int, out: Path, settings: SegmentSettings, *, shared: bool = False
    ) -> Generator[tuple[Case, CaseResult]]:
        """Yield every case with its row, in order, once its files are written.

        To be taken in `with closing(...)`, so that no worker writes on once its caller has stopped.

        Args:
            cases: to do, `count` of them at most.
            count: of cases.
            out: the output folder.
            settings: threshold and what to write.
            shared: as in `finish_case`.

        Raises:
            OSError: if the disk is full or takes no files.
        """
        workers = min(self.workers, count)
        threads = max(1, torch.get_num_threads() // workers)
        start = partial(_load, self.parts, out, settings, threads, shared)
        under_way: set[str] = set()

        def begun() -> Iterator[Case]:
            for case in cases:
                under_way.add(case.case_id)
                yield case

        def clean() -> None:
            """Remove what workers that were ended had begun to write; whole files and those of other calls stay."""
            clean_some_files(out, [file for name in under_way for file in case_files(name)], str)
            for folder in self.folders:
                clean_files(folder, str)

        outcomes = ordered_map(_segment, begun(), workers=workers, start=start, ended=clean, modules=WORKER_MODULES)
        with closing(outcomes):
            for case, outcome in outcomes:
                if isinstance(outcome, OSError):
                    raise outcome
                if isinstance(outcome, Failure):  # its worker was killed
                    clean()
                    outcome = failed_case(case, outcome, out, shared=shared)
                under_way.discard(case.case_id)
                yield case, outcome


def whole_cases(groups: Sequence[ModelGroup], extractor: BrainExtractor, workers: int) -> WholeCases | None:
    """How several worker processes do whole cases.

    None for fewer than two workers, for a model that is not on the CPU, and for one that cannot be copied: some
    networks of plugins hold what cannot be pickled.
    """
    if workers < 2 or any(model.device.type != "cpu" for model in all_models(groups)):
        return None
    try:
        parts = pickle.dumps((tuple(groups), extractor))
    except Exception:
        return None
    return WholeCases(parts, (extractor.folder,) if isinstance(extractor, BrainMaskCache) else (), workers)


@dataclass(frozen=True)
class _Here:
    """What a worker process has loaded."""

    groups: tuple[ModelGroup, ...]
    extractor: BrainExtractor
    out: Path
    settings: SegmentSettings
    shared: bool


_LOADED: list[_Here] = []
"""In a worker process: one entry."""


def _load(parts: bytes, out: Path, settings: SegmentSettings, threads: int, shared: bool) -> None:
    """In a worker: take the models that the calling process has loaded and checked."""
    torch.set_num_threads(threads)
    groups, extractor = unpacked(parts)
    _LOADED[:] = [_Here(groups, extractor, out, settings, shared)]


def _segment(case: Case) -> CaseResult | OSError:
    """In a worker: a case from its scan to its row; a full disk as a value, for the calling process to end by."""
    here = _LOADED[0]
    preprocessings = [group.preprocessing for group in here.groups]
    outcome = attempt(partial(prepare_case, preprocessings=preprocessings, extractor=here.extractor), case)
    try:
        return finish_case(case, outcome, here.groups, here.out, here.settings, shared=here.shared)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return error
