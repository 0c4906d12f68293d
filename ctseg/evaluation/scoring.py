"""All cases measured, in this process or in several; the scores come in the cases' order either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from functools import partial

from ctseg.errors import InputError
from ctseg.evaluation.cases import Job, Matching
from ctseg.evaluation.score import Score, score_case
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import Metric
from ctseg.parallel import worker_pool

Advance = Callable[[int, str], None]


def score_all(
    matching: Matching,
    settings: EvaluationSettings,
    *,
    metrics: Sequence[Metric] = METRICS,
    workers: int = 0,
    progress: Advance | None = None,
) -> list[Score]:
    """The score of every model on every case.

    Args:
        matching: which masks belong together.
        settings: of the evaluation.
        metrics: what is measured.
        workers: processes; 0 does everything here. The scores do not depend on it.
        progress: called with (1, case) after each case.

    Raises:
        InputError: if a worker process is killed.
    """
    scores: list[Score] = []
    for job, found in zip(matching.jobs, _found(matching, settings, metrics, workers), strict=True):
        scores += found
        if progress is not None:
            progress(1, job.case)
    return scores


def _found(
    matching: Matching, settings: EvaluationSettings, metrics: Sequence[Metric], workers: int
) -> Iterator[list[Score]]:
    work: Callable[[Job], list[Score]] = partial(
        score_case, models=matching.models, settings=settings, metrics=tuple(metrics)
    )
    if not workers:
        yield from map(work, matching.jobs)
        return
    try:
        with worker_pool(workers) as pool:
            yield from pool.map(work, matching.jobs)
    except BrokenExecutor:
        raise InputError(
            "a worker process was killed, most likely for lack of memory; use fewer --workers, or 0"
        ) from None
