"""Where the data of a reproduction are: the phantom, or a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ctseg.errors import InputError


@dataclass(frozen=True)
class Inputs:
    """Where the data are: paths below the reproduction's folder where relative."""

    source: str
    """Labelled MR slice set."""
    target: str
    """Unlabelled CT slice set."""
    test: str
    """Scans of held-out CT patients."""
    truth: str
    """Their masks, `CASE.nii.gz`."""
    labels: str = ""
    """Their slice labels, where there are any."""
    train: str = ""
    """Scans of the target's patients: every slice of them is the target of `plus`."""
    train_truth: str = ""
    """Their masks: for the upper bound and the study of the rules alone."""


PHANTOM = Inputs(
    "data/sets/mr",
    "data/sets/ct",
    "data/phantom/rsna/stage_2_test",
    "data/phantom/truth/iph/test",
    "data/phantom/truth/stage_2_test.csv",
    "data/phantom/rsna/stage_2_train",
    "data/phantom/truth/iph/train",
)


def own_inputs(
    source: Path, target: Path, test: Path, truth: Path, train: Path | None = None, train_truth: Path | None = None
) -> Inputs:
    """A user's own data.

    Raises:
        InputError: if one of them is not there.
    """
    given = [path for path in (source, target, test, truth, train, train_truth) if path is not None]
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
    names = [str(path.resolve()) for path in given]
    train_names = dict(zip(("train", "train_truth"), names[4:], strict=False))
    return Inputs(names[0], names[1], names[2], names[3], **train_names)
