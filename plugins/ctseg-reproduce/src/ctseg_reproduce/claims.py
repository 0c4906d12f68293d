"""The paper's claims: two rows each, run in the order of what they decide in the time they take, with a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ctseg.evaluation.intervals import UNKNOWN
from ctseg.evaluation.verdict import Verdict, verdict
from ctseg_reproduce.plan import Plan
from ctseg_reproduce.results import Difference, difference
from ctseg_reproduce.schedule import added_minutes
from ctseg_reproduce.systems import CLAIM_PAIRS, ROWS, AnyRow, paper_dice
from ctseg_reproduce.table import Result

CONTROL_POINTS = 10.0
"""What a control counts for in the order, in Dice points: where it fails, no other claim of its rows can be read."""
METRIC, SECOND_METRIC = "pooled", "per_slice"
"""What the verdict is on; and the released code's metric, by which orders can be the reverse."""


@dataclass(frozen=True)
class Claim:
    """One row is better than another one."""

    text: str
    better: AnyRow
    worse: AnyRow

    @property
    def points(self) -> float | None:
        """The paper's difference in Dice points; None for a control."""
        first, second = paper_dice(self.better.name), paper_dice(self.worse.name)
        return None if first is None or second is None else round(first - second, 2)

    @property
    def weight(self) -> float:
        """How many points are at stake."""
        return CONTROL_POINTS if self.points is None else self.points


@dataclass(frozen=True)
class Decision:
    """A claim with what was measured."""

    claim: Claim
    found: Difference | None
    """Difference of the pooled Dice; None where a row has no outcome."""
    per_slice: Difference | None
    """The same of the released code's Dice per slice."""

    @property
    def verdict(self) -> Verdict:
        """Of the pooled Dice."""
        return verdict_of(self.found)

    def flat(self) -> dict[str, Any]:
        """One line of `claims.csv`; differences in Dice points."""
        line: dict[str, Any] = {
            "claim": self.claim.text, "better": self.claim.better.name, "worse": self.claim.worse.name,
            "paper_points": self.claim.points,
        }  # fmt: skip
        for name, one in ((METRIC, self.found), (SECOND_METRIC, self.per_slice)):
            for part in ("value", "low", "high"):
                value = 100 * getattr(one, part) if one else math.nan
                line[f"{name}_difference" if part == "value" else f"{name}_{part}"] = round(value, 4)
            line[f"{name}_verdict"] = verdict_of(one)
        return {**line, "seeds": " ".join(map(str, self.found.seeds)) if self.found else ""}


def verdict_of(found: Difference | None) -> Verdict:
    """What the interval says of the claim that the difference is positive.

    With one seed it is undecided: the interval is over patients alone and speaks of two trained networks.
    """
    interval = (found.low, found.high) if found is not None and len(found.seeds) > 1 else UNKNOWN
    return verdict(interval, 1)


def all_claims(plan: Plan) -> list[Claim]:
    """The claims whose rows can be run with the data at hand."""
    claims = [Claim(text, ROWS[better], ROWS[worse]) for text, better, worse in CLAIM_PAIRS]
    return [claim for claim in claims if plan.can_run(claim.better) and plan.can_run(claim.worse)]


def order_claims(plan: Plan, minutes: float = math.inf) -> list[Claim]:
    """The claims in the order of points at stake per minute, given what the earlier ones have run.

    Args:
        plan: makes the stages.
        minutes: of one seed; the claims that do not fit in it by the scale's estimates are left out.
    """
    open_claims, known, chosen = all_claims(plan), set[str](), list[Claim]()
    left = minutes
    while open_claims:
        costs = {item.text: added_minutes(plan, (item.better, item.worse), known)[0] for item in open_claims}
        fitting = [item for item in open_claims if costs[item.text] <= left]
        if not fitting:
            break
        best = max(fitting, key=lambda item: item.weight / (costs[item.text] + 1e-3))
        spent, known = added_minutes(plan, (best.better, best.worse), known)
        left -= spent
        chosen.append(best)
        open_claims.remove(best)
    return chosen


def rows_of(claims: Sequence[Claim]) -> list[AnyRow]:
    """The rows that claims need, each once, in the order of the claims."""
    rows = {row.name: row for claim in claims for row in (claim.worse, claim.better)}
    return list(rows.values())


def decide(claim: Claim, results: Sequence[Result]) -> Decision:
    """Compare the two rows of a claim by what is known of them."""
    known = {item.row.name: item.outcomes for item in results}
    better, worse = known.get(claim.better.name, ()), known.get(claim.worse.name, ())
    if not better or not worse:
        return Decision(claim, None, None)
    return Decision(claim, difference(better, worse, METRIC), difference(better, worse, SECOND_METRIC))
