"""Phantom patients with every kind of bleed, each with the true mask of each kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.files import write_json, write_with
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask
from ctseg.io.volume import Volume
from ctseg.phantom.bleeds import KINDS, Findings
from ctseg.phantom.cohort import DOMAINS, TEST_MIX, TRAIN_MIX, orders
from ctseg.phantom.rsna import CtCase, make_ct_case
from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.ct import prepare_ct
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.settings import resolve

PHANTOM_SEED, DOMAIN, HOSPITAL_DOMAIN = 1000, 21, 22
"""Part of the seed of every patient: no cohort of `ctseg phantom` and no other model has them."""
MATRIX = 512
MIX: tuple[Findings, ...] = (
    Findings(iph=True, severe=True),
    Findings(sdh=True),
    Findings(ivh=True),
    Findings(),
    Findings(edh=True, trauma=True),
    Findings(sah=True),
    Findings(iph=True, ivh=True, severe=True),
    Findings(sdh=True, trauma=True),
    Findings(iph=True, trauma=True),
    Findings(iph=True, sah=True, edh=True, trauma=True, severe=True),
    Findings(ivh=True, sah=True),
    Findings(sah=True, sdh=True, trauma=True),
    Findings(),
    Findings(edh=True, sah=True, trauma=True),
    Findings(iph=True, ivh=True, sah=True, severe=True),
    Findings(iph=True, sdh=True, trauma=True, severe=True),
    Findings(iph=True),
    Findings(iph=True, ivh=True, sah=True, sdh=True, trauma=True, severe=True),
    Findings(),
)
"""Repeated. Its length has no factor in common with the cycles of scanners and slices: every finding meets each."""
HOSPITAL_MIX: tuple[Findings, ...] = (*TEST_MIX, *TRAIN_MIX[:-1])
"""Repeated, of the same kind of length: both mixes of `ctseg phantom`, of which most patients bleed into the tissue."""
OF_MIX, OF_HOSPITAL = 76, 108
"""Patients of training of each mix, those of `MIX` first."""
CHOOSING_OF_MIX, CHOOSING_OF_HOSPITAL = range(76, 98), range(115, 138)
"""Patients that thresholds are chosen on, of each mix."""
STEPS_MM = (5.0, 5.0, 4.0, 5.0, 3.0, 6.0, 7.5)
"""Slice steps of the patients, repeated."""
PREPROCESSING = resolve(PreprocessSettings, {"size": 144, "fov_mm": 216.0, "brain_hu": 31.0})
"""As the default model's, so that a scan is prepared once for both networks."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class KindSlices:
    """What the network is trained on, of one patient."""

    images: NDArray[np.uint8]
    """(K, H, W) as `prepare_ct` gives them."""
    kinds: NDArray[np.uint8]
    """(K, H, W): 0 no blood, else 1 + the place in `KINDS`."""
    z_mm: NDArray[np.float64]
    """(K,)."""

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all."""
        arrays = {"images": self.images, "kinds": self.kinds, "z_mm": self.z_mm}
        write_with(path, lambda temporary: np.savez_compressed(temporary, **arrays))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> KindSlices:
        """Read one back."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["images"], file["kinds"], file["z_mm"])


def training_case(index: int) -> CtCase:
    """Patient `index` of training; the same however many there are."""
    return _of_mix(index) if index < OF_MIX else _of_hospital(index - OF_MIX)


def choosing_case(index: int) -> CtCase:
    """Patient `index` of those that thresholds are chosen on; none of them was trained on."""
    if index < len(CHOOSING_OF_MIX):
        return _of_mix(CHOOSING_OF_MIX[index])
    return _of_hospital(CHOOSING_OF_HOSPITAL[index - len(CHOOSING_OF_MIX)])


def _of_mix(index: int) -> CtCase:
    return _case(index, MIX, DOMAIN)


def _of_hospital(index: int) -> CtCase:
    return _case(index, HOSPITAL_MIX, HOSPITAL_DOMAIN)


def _case(index: int, mix: tuple[Findings, ...], domain: int) -> CtCase:
    seed, step = (PHANTOM_SEED, domain, index), STEPS_MM[index % len(STEPS_MM)]
    return CtCase(
        index, "stage_2_train", mix[index % len(mix)], MATRIX, step, seed, orders(mix, index), every_mask=True
    )


def held_out_case(cohort_seed: int, index: int, matrix: int = MATRIX) -> CtCase:
    """Test patient `index` of the cohort that `ctseg phantom --seed` makes, with the masks of all kinds."""
    seed = (cohort_seed, DOMAINS["stage_2_test"], index)
    return CtCase(
        index, "stage_2_test", TEST_MIX[index % len(TEST_MIX)], matrix, 5.0, seed, orders(TEST_MIX, index),
        every_mask=True,
    )  # fmt: skip


def scanned(case: CtCase) -> tuple[Volume, dict[str, NDArray[np.bool_]]]:
    """A patient's scan as it is read from disk, and the true mask (K, h, w) of each kind of bleed."""
    with tempfile.TemporaryDirectory(prefix="ctseg-patient-") as place:
        return kept_scan(Path(place), case)


def kept_scan(folder: Path, case: CtCase) -> tuple[Volume, dict[str, NDArray[np.bool_]]]:
    """As `scanned`, from a folder that keeps the files: they are made once."""
    done = folder / "case.json"
    if not done.exists():
        write_json(done, make_ct_case(folder, case)["case"])
    [found] = discover(sorted((folder / "rsna" / case.split).glob("*.dcm")), "ct", workers=1).cases
    volume = read_case(found)
    split, name = case.split.removeprefix("stage_2_"), f"{volume.case_id}.nii.gz"
    return volume, {kind: load_mask(folder / "truth" / kind / split / name)[0] > 0 for kind in KINDS}


def patient_slices(case: CtCase) -> KindSlices:
    """A patient's slices as the network sees them."""
    volume, masks = scanned(case)
    prepared = prepare_ct(volume, PREPROCESSING, MuschelliExtractor()(volume))
    kinds = model_kinds(masks, prepared.frame)
    return KindSlices(prepared.images, np.where(prepared.brain, kinds, 0).astype(np.uint8), volume.z_mm)


def model_kinds(masks: dict[str, NDArray[np.bool_]], frame: Frame) -> NDArray[np.uint8]:
    """Native masks (K, h, w) of each kind -> (K, H, W) kinds: pixels at least half full of blood, by the largest."""
    shares = np.stack([frame.to_model(masks[kind]) for kind in KINDS])
    return np.where(shares.sum(axis=0) >= 0.5, 1 + shares.argmax(axis=0), 0).astype(np.uint8)


def small(case: CtCase, matrix: int, step_mm: float) -> CtCase:
    """The same patient, scanned coarsely: for tests."""
    return replace(case, matrix=matrix, step_mm=step_mm)


def patient_file(folder: Path, index: int) -> Path:
    """Where the slices of training patient `index` are kept."""
    return folder / "patients" / f"{index:03d}.npz"


def keep_patient(index: int, folder: Path) -> None:
    """Simulate training patient `index` and keep its slices; one thread, as workers are the parallelism."""
    import torch

    torch.set_num_threads(1)
    patient_slices(training_case(index)).save(patient_file(folder, index))
