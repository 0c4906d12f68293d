"""What follows an epoch of `das-train`: validation and checkpoint selection, weights, samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctseg.io.slices import SliceSet
from ctseg.runs import ModelHeader, save_model
from ctseg.segmentation.samples import write_samples
from ctseg.segmentation.steps import SegmenterTraining
from ctseg.selection.rules import LOGGED, CheckpointSelection, lesion_share, score_all
from ctseg.selection.validation import Validation, ValidationSlices, gather
from ctseg.training.sampling import Rows
from ctseg.training.settings import AdaptationSettings


@dataclass(frozen=True)
class AfterEpoch:
    """What follows an epoch, by the settings: validation and selection, weights, samples."""

    settings: AdaptationSettings
    training: SegmenterTraining
    validation: Validation
    selection: CheckpointSelection
    run: Path
    header: ModelHeader
    train_rows: Rows

    def __call__(self, epoch: int) -> dict[str, Any]:
        """What the line of `metrics.jsonl` says of an epoch (from 0) besides its losses."""
        settings, final = self.settings, self.training.final
        row, is_last = {}, epoch + 1 == settings.total_epochs
        if is_last or (epoch + 1) % settings.validate_every == 0:
            may_select = is_last or epoch >= settings.select_from
            row = validate(self.training, self.validation, self.selection if may_select else None, epoch)
            if settings.keep_epochs:
                save_model(self.run / "epochs" / f"epoch_{epoch + 1:04d}.safetensors", final, self.header)
        if is_last or (epoch + 1) % settings.sample_every == 0:
            samples = self.run / "samples" / f"epoch_{epoch + 1:04d}.png"
            write_samples(samples, final, self.validation, self.train_rows)
        return row


def make_validation(
    slices: ValidationSlices, source: SliceSet, target: SliceSet, training: SegmenterTraining
) -> Validation:
    """What is predicted after each epoch, and how."""
    return Validation(
        slices, target.images, source.images, source.require_masks("validation on the source needs them"),
        training.autocast, None if training.adversary is None else training.adversary.takes_for_source,
        training.of_source,
    )  # fmt: skip


def validate(
    training: SegmenterTraining, validation: Validation, selection: CheckpointSelection | None, epoch: int
) -> dict[str, Any]:
    """Every rule's score; `selection`, if there is one, is updated with the epoch."""
    outputs = gather(training.final, validation, epoch)
    scores = score_all(outputs)
    selected = selection is not None and selection.update(epoch, scores, training.final)
    logged = {f"val_{name}": scores[name] for name in LOGGED}
    return {**logged, "val_target_lesion_share": lesion_share(outputs), "chosen": selected}
