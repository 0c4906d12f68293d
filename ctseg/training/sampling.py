"""Which slices meet in each step, drawn from the run's seed, the epoch and the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import InputError

Rows = NDArray[np.int64]


def step_rng(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Random numbers of one step (flips, augmentation), the same whether or not the run was resumed."""
    return np.random.default_rng([seed, epoch, step])


class SliceSampler:
    """Which source and target slices meet in each step, a pure function of seed, epoch and step.

    Every source row comes once before any comes again; its target is drawn among its candidates, or among all.

    Args:
        source_rows: rows of the source set to train on.
        target_rows: rows of the target set to train on.
        batch_size: source slices (and as many target slices) in a step.
        seed: the run's.
        candidates: source row -> the target rows it is matched with; None draws any target row.
        steps_per_epoch: default: each source row once; the last batch is filled up from a further round.
        lesion_share: share of each batch that shows a lesion: these rows and the others then take turns each among
            themselves. 0: as they come.
        lesions: (rows,) which of `source_rows` show one; needed with a share.
        rank: this process, of `world`; each gets its own part of every batch.
        world: processes that train together.

    Raises:
        InputError: if a source row has no candidate among `target_rows`, or there is a share of lesions and no lesion.
    """

    def __init__(
        self,
        source_rows: Rows,
        target_rows: Rows,
        *,
        batch_size: int,
        seed: int,
        candidates: Callable[[int], Rows] | None = None,
        steps_per_epoch: int | None = None,
        lesion_share: float = 0.0,
        lesions: NDArray[np.bool_] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source_rows, self.target_rows = np.asarray(source_rows), np.asarray(target_rows)
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.steps = steps_per_epoch or math.ceil(len(self.source_rows) / (batch_size * world))
        self._parts = lesion_parts(lesions, lesion_share, batch_size * world) if lesions is not None else ()
        self._choices = _allowed(self.source_rows, self.target_rows, candidates) if candidates else None

    def draws(self, epoch: int) -> tuple[Rows, Rows]:
        """Source and target rows of an epoch, (steps, batch) each."""
        rng = np.random.default_rng([self.seed, epoch])
        places = self._places(rng)
        targets = self._targets(places, rng)
        shape = (self.steps, self.world, self.batch_size)
        return self.source_rows[places].reshape(shape)[:, self.rank], targets.reshape(shape)[:, self.rank]

    def draw(self, epoch: int, step: int) -> tuple[Rows, Rows]:
        """Source and target rows of one step, (batch,) each."""
        source, target = self.draws(epoch)
        return source[step], target[step]

    def _places(self, rng: np.random.Generator) -> Rows:
        """Places in `source_rows`, those of one step after those of another."""
        if not self._parts:
            return _turns(np.arange(len(self.source_rows)), self.steps * self.batch_size * self.world, rng)
        columns = [_turns(part, self.steps * width, rng).reshape(self.steps, width) for part, width in self._parts]
        return rng.permuted(np.concatenate(columns, axis=1), axis=1).ravel()

    def _targets(self, places: Rows, rng: np.random.Generator) -> Rows:
        shares = rng.random(len(places))
        if self._choices is None:
            return self.target_rows[(shares * len(self.target_rows)).astype(np.int64)]
        chosen = [self._choices[place] for place in places]
        return np.array([rows[int(share * len(rows))] for rows, share in zip(chosen, shares, strict=True)])


def _turns(places: Rows, count: int, rng: np.random.Generator) -> Rows:
    """`count` of these places, each once before any comes again."""
    rounds = math.ceil(count / len(places))
    turns: Rows = places[np.concatenate([rng.permutation(len(places)) for _ in range(rounds)])[:count]]
    return turns


def lesion_parts(lesions: NDArray[np.bool_], share: float, batch: int) -> tuple[tuple[Rows, int], ...]:
    """Places with a lesion and those without, and how many of each are in a batch; a part that is 0 wide is left out.

    Args:
        lesions: which of the places show one.
        share: of a batch that has to; 0 makes no parts.
        batch: slices in one.

    Raises:
        InputError: if no place shows a lesion.
    """
    if not share:
        return ()
    if not lesions.any():
        raise InputError(f"lesion_share={share:g}: none of {len(lesions)} source slices shows a lesion; leave it out")
    width = batch if lesions.all() else max(1, round(share * batch))
    parts = ((np.flatnonzero(lesions), width), (np.flatnonzero(~lesions), batch - width))
    return tuple(part for part in parts if part[1])


def _allowed(source_rows: Rows, target_rows: Rows, candidates: Callable[[int], Rows]) -> list[Rows]:
    """The candidates of each source row that may be trained on."""
    found = [np.asarray(candidates(int(row)), dtype=np.int64) for row in source_rows]
    places = np.cumsum([len(rows) for rows in found])[:-1]
    inside = np.split(np.isin(np.concatenate(found), target_rows), places)  # once: a million rows take seconds
    kept = [rows[allowed] for rows, allowed in zip(found, inside, strict=True)]
    lonely = [int(row) for row, rows in zip(source_rows, kept, strict=True) if not len(rows)]
    if lonely:
        raise InputError(
            f"pairs: {len(lonely)} of {len(source_rows)} source slices have no target slice in the training split "
            f"(first: row {lonely[0]}); match again with the same sets, or --set matched=false"
        )
    return kept
