"""One case from its prepared slices to its files and its row of the table, in whichever process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctseg.files import FULL, noted_files
from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.inference.disagreement import widened
from ctseg.inference.head_orientation import orientation_remarks
from ctseg.inference.models import ModelGroup, mask_models
from ctseg.inference.outputs import write_case
from ctseg.inference.predict import Prediction, predict_with_recovery
from ctseg.inference.prefetch import Outcome
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.results import CaseResult, case_files, remove_case
from ctseg.inference.settings import SegmentSettings
from ctseg.inference.skull_base import skull_base_remarks
from ctseg.inference.stripped_rim import stripped_rim_remarks
from ctseg.io.case import Case
from ctseg.io.private import without_paths
from ctseg.outputs import check_still_there
from ctseg.outputs.changed import looks
from ctseg.parallel import Failure, failure
from ctseg.preprocess.ct import STRIPPED

PLAUSIBLE_BRAIN_ML = (500.0, 2200.0)
"""Outside these, a head is cut off or brain extraction failed; adult brains with CSF spaces have 1000 to 1900 mL."""


def finish_case(
    case: Case,
    outcome: Outcome,
    groups: Sequence[ModelGroup],
    out: Path,
    settings: SegmentSettings,
    *,
    shared: bool = False,
) -> CaseResult:
    """Run the network on a prepared case and write its files; a failed case leaves none.

    With `shared`, nothing is removed: another call may have taken the case over and written its files. What belongs to
    failed cases then goes when all are done.

    Raises:
        OSError: if the disk is full or takes no files.
        InputError: if the folder is not there any more, or another lies in its place.
    """
    check_still_there(out)
    if isinstance(outcome, ReadyCase):
        try:
            return _segment_one(case, outcome, groups, out, settings)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                if not shared:
                    remove_case(out, case.case_id)
                raise  # no other case could be written either; --resume goes on where there is room again
            outcome = failure(error)
    return failed_case(case, outcome, out, shared=shared)


def failed_case(case: Case, reason: Failure, out: Path, *, shared: bool = False) -> CaseResult:
    """The row of a case that could not be done; what was written of it is removed, unless the output is `shared`.

    Raises:
        InputError: if the folder is not there any more, or another lies in its place, whose files are not ours.
    """
    check_still_there(out)
    if not shared:
        remove_case(out, case.case_id)
    return CaseResult(case.case_id, "failed", error=without_paths(reason.error, case), traceback=reason.traceback)


def _segment_one(
    case: Case, ready: ReadyCase, groups: Sequence[ModelGroup], out: Path, settings: SegmentSettings
) -> CaseResult:
    started = time.perf_counter()
    prediction = predict_with_recovery(ready, groups, settings)
    with noted_files() as noted:
        remarks = write_case(out, case.case_id, prediction, settings, seg_algorithm(groups, settings))
    written = set(noted)
    files = [file for file in case_files(case.case_id) if out / file in written]
    remove_case(out, case.case_id, keep=files)  # what an earlier scan of that name had and this one has not
    measures = prediction.measures
    return CaseResult(
        case=case.case_id,
        status="ok",
        ml=round(measures.ml, 4),
        **_disagreement(prediction, settings.range_factor),
        **_corrected(measures.ml, prediction.brain_ml, groups, settings),
        abc2_ml=round(measures.abc2_ml, 4),
        lesions=measures.lesions,
        largest_ml=round(measures.largest_ml, 4),
        brain_ml=round(prediction.brain_ml, 1),
        model=_models(groups),
        seconds=round(ready.seconds + time.perf_counter() - started, 2),
        slices=len(prediction.mask),
        expected_dice=None if prediction.expected_dice is None else round(prediction.expected_dice, 4),
        **_recovery(prediction),
        **_other_blood(prediction),
        input=ready.digest,
        files=" ".join(files),
        looks=looks(out, files),
        ood="; ".join(prediction.ood),
        note="; ".join([*ready.volume.notes, *_prepared_notes(ready), *_remarks(ready, prediction), *remarks]),
    )


def _recovery(prediction: Prediction) -> dict[str, Any]:
    """The columns that say what came back of known haematomas; none where they were not asked for or had no room."""
    found = prediction.recovery
    if found is None:
        return {}
    from ctseg.inference.recovery import SIZES_ML

    values = {"recovery": found.dice_of(prediction.expected_dice)}
    values |= {f"recovery_{ml:g}ml": found.dice_at(ml) for ml in SIZES_ML}
    return {"recovery_hu": found.hu, **{name: round(value, 3) for name, value in values.items() if value is not None}}


def _other_blood(prediction: Prediction) -> dict[str, Any]:
    """The columns of other blood; none where it was not asked for."""
    found = prediction.other_blood
    if found is None:
        return {}
    return {"other_ml": round(found.total_ml, 4), **{f"{name}_ml": round(ml, 4) for name, ml in found.ml.items()}}


def _remarks(ready: ReadyCase, prediction: Prediction) -> list[str]:
    faint = [f"faint spots of {prediction.faint_ml:.2f} mL dropped"] if prediction.faint_ml > 0 else []
    low = skull_base_remarks(prediction.mask, prediction.brain, prediction.volume)
    if STRIPPED in _prepared_notes(ready):
        low += stripped_rim_remarks(prediction.mask, prediction.brain, prediction.volume)
    recovery = [prediction.recovery_note] if prediction.recovery_note else []
    turned = orientation_remarks(ready.volume, ready.brain) if ready.volume.domain == "ct" else []
    return [*brain_remarks(prediction), *turned, *low, *faint, *recovery]


def _disagreement(prediction: Prediction, factor: float) -> dict[str, Any]:
    """The range holds the mask's own volume, too: the average of members that contradict each other can be empty."""
    found = prediction.disagreement
    if found is None:
        return {}
    ml = prediction.measures.ml
    low, high = min(found.ml_low, ml), max(found.ml_high, ml)
    if factor:
        low, high = widened(ml, low, high, factor)
    values = {"ml_low": low, "ml_high": high, "agreement": found.agreement, "entropy_bits": found.entropy_bits}
    return {name: round(value, 4) for name, value in values.items()}


def _corrected(ml: float, brain_ml: float, groups: Sequence[ModelGroup], settings: SegmentSettings) -> dict[str, Any]:
    """The volume as the model's card corrects it: for one model alone, with the settings that the card is about.

    None of the numbers is more than the brain holds: a card whose phantoms were missed almost whole multiplies by 61.
    """
    models = mask_models(groups)
    usual = SegmentSettings.model_fields
    is_usual = all(getattr(settings, name) == usual[name].default for name in ("threshold", "min_lesion_ml"))
    if len(models) != 1 or models[0].volumes is None or not is_usual or ml <= 0:
        return {}
    if settings.grow_mm not in (None, models[0].grow_mm):
        return {}
    names = ("ml_corrected", "ml_corrected_low", "ml_corrected_high")
    most = max(ml, brain_ml)
    numbers = (min(value, most) for value in models[0].volumes.corrected(ml))
    values = {name: round(value, 4) for name, value in zip(names, numbers, strict=True)}
    return {**values, "ml_corrected_level": models[0].volumes.level}


def _prepared_notes(ready: ReadyCase) -> list[str]:
    return list(dict.fromkeys(note for prepared in ready.prepared for note in prepared.notes))


def brain_remarks(prediction: Prediction) -> list[str]:
    """A warning where the brain's volume is not that of a whole head."""
    low, high = PLAUSIBLE_BRAIN_ML
    if prediction.brain_ml < low:
        return [
            f"brain of {prediction.brain_ml:.0f} mL: part of a head, or brain extraction failed; look at the preview"
        ]
    if prediction.brain_ml > high:
        return [f"brain of {prediction.brain_ml:.0f} mL: brain extraction failed? look at the preview"]
    return []


def _models(groups: Sequence[ModelGroup]) -> str:
    """`default (unet) 0123456789ab`, several joined by semicolons."""
    return "; ".join(f"{model.label} {model.digest}" for model in mask_models(groups))


def seg_algorithm(groups: Sequence[ModelGroup], settings: SegmentSettings) -> SegAlgorithm:
    """What a DICOM SEG says of the models and settings that made its mask."""
    models = mask_models(groups)
    names = ", ".join(dict.fromkeys(model.label for model in models))
    named = " ".join(model.name for model in models if model.name)
    return SegAlgorithm(
        names,
        parameters={
            **({"model": named} if named else {}),
            "weights": " ".join(model.digest for model in models),
            "threshold": f"{settings.threshold:g}",
            "min_lesion_ml": f"{settings.min_lesion_ml:g}",
            "faint_hu": f"{settings.faint_hu or 0:g}",
            "grow_mm": f"{settings.grow_mm or 0:g}",
            "tta": str(bool(settings.tta)),
        },
    )
