"""Cases read and preprocessed in worker processes while the network works on earlier ones."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial

from ctseg.inference.prepare import ReadyCase, prepare_case
from ctseg.io.case import Case
from ctseg.parallel import Failure, ordered_map
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.settings import PreprocessSettings

Outcome = ReadyCase | Failure


def prefetch_prepared(
    cases: Iterable[Case],
    preprocessings: Sequence[PreprocessSettings],
    extractor: BrainExtractor,
    *,
    workers: int = 0,
    executor: Executor | None = None,
) -> Generator[tuple[Case, Outcome]]:
    """Yield every case with its prepared slices or its failure, in order; never raises for a bad case.

    To be taken in `with closing(...)`, as `ordered_map`.

    Args:
        cases: to be read.
        preprocessings: how slices are made, one for each group of models.
        extractor: finds the brain; must be picklable with workers.
        workers: processes; 0 does everything here, one case at a time.
        executor: used instead of own processes, e.g. that of a Dask cluster.
    """
    work = partial(prepare_case, preprocessings=tuple(preprocessings), extractor=extractor)
    look_ahead = workers + 1 if executor is None else None  # a prepared scan takes tens of MB
    return ordered_map(work, cases, workers=workers, executor=executor, look_ahead=look_ahead)
