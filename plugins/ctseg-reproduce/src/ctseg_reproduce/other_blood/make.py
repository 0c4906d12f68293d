"""`ctseg reproduce other-blood-model`: from nothing to the weights of the network for other blood."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ctseg.errors import InputError
from ctseg.parallel import Failure, ordered_map
from ctseg.progress import ProgressCallback
from ctseg_reproduce.making import SECONDS, add_seconds, keep_request, read_back
from ctseg_reproduce.other_blood.patients import (
    OF_HOSPITAL,
    OF_MIX,
    PREPROCESSING,
    KindSlices,
    keep_patient,
    patient_file,
)

if TYPE_CHECKING:
    from ctseg.runs import ModelHeader

NAME = "other-blood"
PATIENTS, STEPS = OF_MIX + OF_HOSPITAL, 7000
FILES = ("patients", "training.pt", SECONDS, "request.json", f"{NAME}.safetensors")


@dataclass(frozen=True)
class OtherBloodRequest:
    """What to make."""

    seed: int = 0
    patients: int = PATIENTS
    steps: int = STEPS
    precision: str = "bf16-mixed"


def make_weights(root: Path, request: OtherBloodRequest, device: str, workers: int, progress: ProgressCallback) -> Path:
    """Make whatever is missing in `root`; returns the file of weights.

    Args:
        root: an existing folder.
        request: what decides the weights.
        device: where they are trained.
        workers: processes that simulate patients; 0 does it here.
        progress: called with (done, of, what).

    Raises:
        InputError: if the folder was begun with another request, what is in it is damaged, or a patient failed.
    """
    import torch

    from ctseg.runs import save_model
    from ctseg_reproduce.other_blood.train import Pool, train

    keep_request(root, asdict(request), "seed, precision or length")
    patients = make_patients(root, request.patients, workers, progress)
    torch.set_num_threads(1)
    started = time.perf_counter()
    network = train(
        Pool.of(patients), root, steps=request.steps, seed=request.seed, device=torch.device(device),
        mixed=request.precision == "bf16-mixed", report=progress,
    )  # fmt: skip
    add_seconds(root, "training", time.perf_counter() - started)
    return save_model(root / f"{NAME}.safetensors", network, header_of(request, patients))


def make_patients(root: Path, count: int, workers: int, progress: ProgressCallback) -> list[KindSlices]:
    """Simulate the patients that are not there; read all of them."""
    started = time.perf_counter()
    (root / "patients").mkdir(exist_ok=True)
    missing = [index for index in range(count) if not patient_file(root, index).exists()]
    outcomes = ordered_map(partial(keep_patient, folder=root), missing, workers=min(workers, len(missing)))
    with closing(outcomes):
        for done, (index, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Failure):
                raise InputError(f"{root}: patient {index} could not be simulated ({outcome.error}); call again")
            progress(count - len(missing) + done, count, "patients")
    if missing:
        add_seconds(root, "patients", time.perf_counter() - started)
    return [read_back(KindSlices.load, patient_file(root, index)) for index in range(count)]


def header_of(request: OtherBloodRequest, patients: list[KindSlices]) -> ModelHeader:
    """What the weights' file says of itself; the same for the same request."""
    from ctseg.inference.kind_slices import KINDS_NETWORK
    from ctseg.inference.prepare import IMAGE_SETTINGS
    from ctseg.preprocess.ct import window_map
    from ctseg.runs import ModelHeader
    from ctseg.version import __version__
    from ctseg_reproduce.other_blood.train import SETTINGS

    slope, offset = window_map(PREPROCESSING.window)
    preprocess = {key: value for key, value in PREPROCESSING.model_dump(mode="json").items() if key in IMAGE_SETTINGS}
    return ModelHeader(
        "kinds-segmenter",
        KINDS_NETWORK,
        SETTINGS,
        "ctseg",
        __version__,
        {
            "domain": "ct", "size": [PREPROCESSING.size] * 2,
            "intensity": {"a": slope, "b": offset, "unit": "HU"}, "preprocess": preprocess,
        },
        {
            "command": "reproduce other-blood-model", **asdict(request),
            "slices": sum(len(patient.images) for patient in patients),
        },
    )  # fmt: skip
