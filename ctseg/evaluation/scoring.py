"""All cases measured, in this process or in several; the scores come in the cases' order in both."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import closing
from functools import partial

from ctseg.evaluation.cases import Matching
from ctseg.evaluation.score import Score, score_case
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import Metric
from ctseg.parallel import Failure, ordered_map
from ctseg.progress import ProgressCallback


def score_all(
    matching: Matching,
    settings: EvaluationSettings,
    *,
    metrics: Sequence[Metric] = METRICS,
    workers: int = 0,
    executor: Executor | None = None,
    progress: ProgressCallback | None = None,
) -> list[Score]:
    """The score of every model on every case; a case that cannot be measured has scores with an `error`.

    Args:
        matching: which masks belong together.
        settings: of the evaluation.
        metrics: what is measured.
        workers: processes; 0 does everything here. The scores do not depend on it.
        executor: used instead of own processes.
        progress: called with (done, total, case) after each case.
    """
    work = partial(score_case, models=matching.models, settings=settings, metrics=tuple(metrics))
    scores: list[Score] = []
    with closing(ordered_map(work, matching.jobs, workers=workers, executor=executor)) as outcomes:
        for done, (job, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Failure):
                error = f"{job.case}: {outcome.error}"
                outcome = [Score(model, job.case, job.patient, error=error) for model in matching.models]
            scores += outcome
            if progress is not None:
                progress(done, len(matching.jobs), job.case)
    return scores
