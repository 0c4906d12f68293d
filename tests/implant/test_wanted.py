from __future__ import annotations

import numpy as np
import pytest

from ctseg.errors import SettingError
from ctseg.implant.wanted import IPH, KINDS, Wanted, draw_wanted
from ctseg.phantom.bhsd import BHSD


def test_draws_follow_bhsd() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_wanted(rng) for _ in range(3000)]
    table = BHSD[IPH]
    for share, column in ((0.25, 3), (0.5, 5), (0.75, 7), (0.95, 10)):
        assert np.quantile([item.ml for item in drawn], share) == pytest.approx(table.ml[column], rel=0.2)
        assert np.quantile([item.hu for item in drawn], share) == pytest.approx(table.hu[column], abs=2)
    assert {item.kind for item in drawn} == set(KINDS)
    assert all(item.ml < 1 for item in drawn if item.kind == "microbleed")


def test_what_is_given_is_kept() -> None:
    drawn = draw_wanted(np.random.default_rng(0), kind="lobar", ml=5, hu=45)
    assert (drawn.kind, drawn.ml, drawn.hu) == ("lobar", 5, 45)


def test_a_share_of_contusions_changes_the_kinds_and_nothing_else() -> None:
    def drawn(**share: float) -> list[Wanted]:
        return [draw_wanted(np.random.default_rng(seed), **share) for seed in range(400)]

    as_drawn, more, every = drawn(), drawn(contusion_share=0.7), drawn(contusion_share=1)
    assert [(item.ml, item.hu) for item in as_drawn] == [(item.ml, item.hu) for item in more]
    small = sum(item.ml <= 25 for item in as_drawn)
    for items, share in ((as_drawn, 0.35), (more, 0.7), (every, 1)):
        assert sum(item.kind == "contusion" for item in items) / small == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(
    "wrong",
    [("clot", 5, 60, None), ("deep", 0, 60, None), ("deep", 500, 60, None), ("deep", float("nan"), 60, None),
     ("deep", 5, 200, None), ("deep", 5, 60, -1)],
)  # fmt: skip
def test_what_no_head_can_hold_is_refused(wrong: tuple) -> None:  # type: ignore[type-arg]
    with pytest.raises(SettingError, match="haematoma"):
        Wanted(*wrong)
