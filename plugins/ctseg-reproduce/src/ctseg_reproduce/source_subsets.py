"""The source sets of Table 4 as lists of slices, and the control's shuffled labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctseg.errors import InputError
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import SliceSet

Subsets = dict[str, list[str]]
SUBSETS = ("all", "unmatched-1", "unmatched-2", "unmatched-3", "matched")
"""The source sets of Table 4, in the paper's order."""


def source_subsets(source: SliceSet, matched: list[str], split: str = "train", seed: int = 0) -> Subsets:
    """The five source sets of Table 4, each a list of slice names in the set's order.

    Args:
        source: the labelled set.
        matched: the distinct sources of the pairs of `ctseg match --direction target`.
        split: the part of the source that is trained on.
        seed: of the draws.

    Returns:
        `all`; `matched`; `unmatched-1`, all but the matched; `unmatched-2`, as many as matched drawn from all;
        `unmatched-3`, as many drawn from unmatched 1, or all of it where it has fewer.

    Raises:
        InputError: if no matched slice is of the split, or none is left unmatched.
    """
    rows = source.rows(None if split == "all" else split)
    inside = np.intersect1d(rows, source.ids_to_rows(matched, "pairs"))
    outside = np.setdiff1d(rows, inside)
    if not len(inside) or not len(outside):
        raise InputError(
            f"{source.folder}: {len(inside)} of {len(rows)} slices of split {split!r} are matched; Table 4 needs some "
            "that are and some that are not"
        )
    rng = np.random.default_rng([seed, 0x7AB4])
    drawn = rng.choice(rows, len(inside), replace=False)
    others = rng.choice(outside, min(len(inside), len(outside)), replace=False)
    chosen = {"all": rows, "matched": inside, "unmatched-1": outside, "unmatched-2": drawn, "unmatched-3": others}
    return {name: [str(item) for item in source.slice_ids[np.sort(part)]] for name, part in chosen.items()}


def shuffle_labels(labelled: SliceSet, folder: Path, seed: int = 0) -> None:
    """Write the set with each slice's mask taken from a slice of another patient of its split.

    Where a split has one patient only, from another slice. A network trained on it can learn where lesions tend to lie,
    not what they look like.

    Args:
        labelled: a set with masks.
        folder: an existing, empty folder.
        seed: of the shuffle.

    Raises:
        InputError: if the set has no masks.
    """
    masks = labelled.require_masks("labels are shuffled")[donors(labelled, seed)]
    table = labelled.table.assign(lesion_px=masks.sum(axis=(1, 2), dtype=np.int64))
    write_slices(
        folder,
        domain=labelled.domain,
        images=labelled.images[:],
        masks=masks,
        table=table,
        intensity=labelled.info["intensity"],
        settings=labelled.info["settings"],
        extra={"labels": f"shuffled with seed {seed}: a control, not for use", **_pseudo(labelled)},
    )


def _pseudo(labelled: SliceSet) -> dict[str, bool]:
    """Pseudo-CT stays known as such: it holds no mask of a real CT."""
    return {"pseudo": True} if labelled.info.get("pseudo") else {}


def donors(labelled: SliceSet, seed: int) -> np.ndarray:
    """(N,) the row that each row takes its mask from: a permutation within each split.

    Rows are put in patient order and turned by at least the largest patient's count, so that, where no patient has more
    than half of a split, no row keeps its patient.
    """
    rng = np.random.default_rng([seed, 0x5F1E])
    found = np.arange(len(labelled))
    for split in sorted(set(labelled.table["split"])):
        rows = labelled.rows(split)
        _, patient = np.unique(labelled.table["patient_id"].to_numpy(str)[rows], return_inverse=True)
        ordered = rows[np.lexsort((rng.random(len(rows)), rng.permutation(patient.max() + 1)[patient]))]
        largest = int(np.bincount(patient).max())
        shift = largest if 2 * largest <= len(rows) else max(1, len(rows) // 2)
        found[ordered] = np.roll(ordered, shift)
    return found
