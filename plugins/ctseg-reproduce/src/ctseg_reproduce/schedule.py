"""How long the stages of a plan are expected to run, and which of them are missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ctseg_reproduce.plan import Plan
from ctseg_reproduce.run import Request
from ctseg_reproduce.scales import Scale
from ctseg_reproduce.stages import Stage, in_order, is_done, read_state
from ctseg_reproduce.systems import AnyRow

KINDS = {"phantom": "data", "synth-train": "synthesis", "das-train": "segmenter", "finetune": "finetune"}
"""Command -> the kind of stage that it makes a long one."""
SHORT = 0.05
"""Minutes of a stage without any of them, as a share of those of the data."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage and how long it is expected to run."""

    folder: str
    minutes: float
    done: bool


def planned_stages(request: Request) -> list[PlannedStage]:
    """Every stage that a call needs, each once, in the order in which it is run."""
    rows = [request.plan.row(row, seed) for seed in request.seeds for row in request.rows]
    return [
        PlannedStage(
            stage.folder,
            round(measured_minutes(request.root, stage) or estimated_minutes(stage, request.plan.scale), 2),
            is_done(request.root, stage),
        )
        for stage in in_order(rows)
    ]


def estimated_minutes(stage: Stage, scale: Scale) -> float:
    """The scale's estimate for the kind of stage."""
    kinds = [KINDS[step["command"]] for step in stage.steps if step["command"] in KINDS]
    return float(scale.minutes[kinds[0]] if kinds else SHORT * scale.minutes["data"])


def measured_minutes(root: Path, stage: Stage) -> float | None:
    """How long the stage itself took, or in the mean its like of other seeds; None where none has run."""
    if is_done(root, stage):
        return own_seconds(root / stage.folder) / 60
    folder = root / stage.folder
    places = folder.parent.glob("seed-*") if folder.name.startswith("seed-") else ()
    seconds = [found for place in places if (found := own_seconds(place))]
    return sum(seconds) / len(seconds) / 60 if seconds else None


def own_seconds(folder: Path) -> float:
    """Seconds of the finished steps of one stage, without what it needs."""
    records = read_state(folder / "study.state.json").values()
    return sum(float(record.get("seconds", 0.0)) for record in records if record.get("done"))


def added_minutes(plan: Plan, rows: Iterable[AnyRow], known: set[str]) -> tuple[float, set[str]]:
    """Estimated minutes of one seed of rows beside the stages already known, and the stages with those added."""
    stages = [stage for stage in in_order(plan.row(row, 0) for row in rows) if stage.folder not in known]
    minutes = sum(estimated_minutes(stage, plan.scale) for stage in stages)
    return minutes, known | {stage.folder for stage in stages}
