"""Settings of stage 2 that do not suit its slice sets: refused before a run folder is made."""

from __future__ import annotations

from ctseg.errors import SettingError
from ctseg.io.slices import SliceSet
from ctseg.preprocess.settings import WINDOW_HU
from ctseg.training.settings import AdaptationSettings, SourceNormalisationSettings


def check_source(source: SliceSet, target: SliceSet, settings: AdaptationSettings) -> None:
    """Refuse what cannot be done with these sets.

    Raises:
        SettingError: if blood would be painted into MR, or in greys of another window; if there is nothing to paste; if
            labelled CT would be normalised otherwise than CT.
    """
    if settings.synthetic_haemorrhage and source.domain != "ct":
        raise SettingError(
            "das-train: synthetic_haemorrhage paints in the greys of CT, and --src is MR; use pseudo-CT or "
            "--set synthetic_haemorrhage=0"
        )
    if settings.copy_paste and not settings.lambda_consistency:
        raise SettingError(
            "das-train: copy_paste needs the teacher's pseudo-labels; --set lambda_consistency=1 or --set copy_paste=0"
        )
    _check_painting(target, settings)
    _check_normalisation(source, settings)


def _check_normalisation(source: SliceSet, settings: AdaptationSettings) -> None:
    used = [name for name in SourceNormalisationSettings.model_fields if getattr(settings, name) is not None]
    if used and source.kind == "CT":
        raise SettingError(
            f"das-train: {' and '.join(used)} {'is' if len(used) == 1 else 'are'} for MR and pseudo-CT, and "
            f"{source.folder} is labelled CT, which is normalised as the target; leave them out"
        )


def _check_painting(target: SliceSet, settings: AdaptationSettings) -> None:
    """Refuse parts that paint or compare in HU where the greys of CT are those of another window."""
    window = target.info["settings"].get("window", WINDOW_HU)
    names = ["synthetic_haemorrhage", "distractors", "copy_paste"]
    names += ["pseudo_label_contrast"] if settings.lambda_consistency else []
    used = [name for name in names if getattr(settings, name)]
    if used and tuple(window) != WINDOW_HU:
        raise SettingError(
            f"{target.folder}: made with --window {window[0]:g}:{window[1]:g}, but {', '.join(used)} work in greys of "
            f"0 to 100 HU; preprocess without --window, or add {' '.join(f'--set {name}=0' for name in used)}"
        )
