"""Where the data of a reproduction are: the phantom, or a user's own."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

from ctseg.errors import InputError, SettingError


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
    """Their masks: for the upper bound and the study of the selection rules alone."""
    train_labels: str = ""
    """Slice labels of the target's patients, by which the phantom's target slices were chosen."""

    def of_seed(self, seed: int) -> Inputs:
        """Those of a row's seed: the phantom has a cohort for each, a user's own data are the same for all."""
        if self != PHANTOM:
            return self
        return Inputs(*(path.replace(f"/{ANY_SEED}/", f"/seed-{seed}/", 1) for path in astuple(self)))


ANY_SEED = "seed-K"
"""Stands for the seed's folder in `PHANTOM`."""
PHANTOM = Inputs(
    f"data/{ANY_SEED}/sets/mr",
    f"data/{ANY_SEED}/sets/ct",
    f"data/{ANY_SEED}/phantom/rsna/stage_2_test",
    f"data/{ANY_SEED}/phantom/truth/iph/test",
    f"data/{ANY_SEED}/phantom/truth/stage_2_test.csv",
    f"data/{ANY_SEED}/phantom/rsna/stage_2_train",
    f"data/{ANY_SEED}/phantom/truth/iph/train",
    f"data/{ANY_SEED}/phantom/rsna/stage_2_train.csv",
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


def given_inputs(
    source: Path | None,
    target: Path | None,
    test: Path | None,
    truth: Path | None,
    train: Path | None,
    train_truth: Path | None,
) -> Inputs:
    """What the options of a call name: the phantom where they name nothing.

    Raises:
        SettingError: if some are given without those that belong to them.
        InputError: if one of them is not there.
    """
    if not any((source, target, test, truth, train, train_truth)):
        return PHANTOM
    if (train is None) != (train_truth is None):
        raise SettingError("--train and --train-truth belong together: scans and their masks")
    if source is None or target is None or test is None or truth is None:
        raise SettingError("own data need all of --src, --tgt, --test and --truth; without any the phantom is used")
    return own_inputs(source, target, test, truth, train, train_truth)
