"""What has to happen before and after an exported network, for programs (JSON) and for people (README)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ctseg.export.network import Parity
from ctseg.harmless import markdown_text
from ctseg.inference.half_maximum import AROUND_MM, BOUNDS, LEAST_HU, LEAST_ML, SMOOTHING_MM
from ctseg.inference.measure import LARGE_ML
from ctseg.inference.models import LoadedModel
from ctseg.preprocess.prepared import BRAIN_FRACTION
from ctseg.version import __version__

SCHEMA = "ctseg-export/1"
NOTICE = "Research software, not a medical device: not for diagnosis, triage or treatment."


def description(
    model: LoadedModel, files: Mapping[str, str], parity: Parity, sha256: str, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `ctseg-export.json`.

    Args:
        model: what is exported.
        files: role -> file name.
        parity: of the exported network with the model.
        sha256: of the model's weights.
        about: licence, training data and limits.
    """
    made = model.preprocessing
    return {
        "schema": SCHEMA,
        "tool": f"ctseg {__version__}",
        "notice": NOTICE,
        "model": {**model.describe(), "sha256": sha256, **about},
        "files": dict(files),
        "input": {
            "name": "images", "shape": ["slices", 1, made.size, made.size], "dtype": "float32", "range": [-1, 1],
            "background": -1,
        },
        "output": {"name": "logits", "shape": ["slices", 1, made.size, made.size], "dtype": "float32"},
        "before": {
            "modality": "CT in Hounsfield units, axial slices, anterior at the top, the patient's right at the left",
            "brain_extractor": made.brain_extractor,
            "brain_extractor_settings": dict(made.brain_extractor_settings),
            "size": made.size,
            "fov_mm": made.fov_mm,
            "window_hu": list(made.window),
            "brain_hu": made.brain_hu,
            "steps": before(model),
        },
        "after": {
            "threshold": 0.5, "tta": model.tta, "faint_hu": model.faint_hu, "grow_mm": model.grow_mm,
            "steps": after(model),
        },
        "parity": asdict(parity),
    }  # fmt: skip


def before(model: LoadedModel) -> list[str]:
    """The steps from a scan to the network's input, in order."""
    made = model.preprocessing
    low, high = made.window
    moved = (
        [f"Add to all HU the number that moves the median over the brain to {made.brain_hu:g} HU."]
        if made.brain_hu is not None
        else []
    )
    return [
        f"Find the brain with the extractor '{made.brain_extractor}' of ctseg: a mask on the scan's own grid.",
        *moved,
        f"Map {low:g} HU to 0 and {high:g} HU to 255, clip, and set everything outside the brain to 0.",
        f"Resample grey values and brain mask of each slice to {made.size} x {made.size} pixels over {made.fov_mm:g} x "
        f"{made.fov_mm:g} mm, centred on the box around the brain's projection along the slices: linear, with a "
        "triangle as wide as the coarser pixel; the first pixel lies on a pixel of the scan.",
        f"Divide grey value by brain share where the share is at least {BRAIN_FRACTION:g}, so that nothing bleeds into "
        "the brain's rim; elsewhere 0.",
        "Round to whole numbers 0 to 255.",
        "Divide by 127.5 and subtract 1. Slices without any brain need not be run.",
    ]


def after(model: LoadedModel) -> list[str]:
    """The steps from the network's output to the mask, in order; what the model's card asks for is among them."""
    mirrored = (
        "Do the same with each slice mirrored left-right, front-back and both, turn the results back, and take the "
        "mean of the four probabilities."
    )
    faint = (
        f"Where no lesion (26 neighbours) has {LARGE_ML:g} mL, drop those whose mean is less than {model.faint_hu:g} "
        "HU above the brain's median."
    )
    (low, high), (inner, outer) = BOUNDS, AROUND_MM
    grown = (
        f"Each lesion of {LEAST_ML:g} mL or more whose median m is at least {LEAST_HU:g} HU above the brain's median b "
        "grows within its slices: into connected brain, nearest to it and not farther than "
        f"{model.grow_mm:g} mm, whose HU, smoothed within the brain (Gaussian of {SMOOTHING_MM:g} mm), lie from "
        f"c + {low:g} (m - c) to b + {high:g} (m - b). c is b, or the median of the brain {inner:g} to {outer:g} mm "
        "from it in its slices where that is more."
    )
    return [
        "Probability: 1 / (1 + exp(-logit)).",
        *([mirrored] if model.tta else []),
        "Resample each probability map linearly to the scan's own pixels; outside the field it is 0.",
        "Set it to 0 outside the brain mask.",
        "Haemorrhage is where the probability is at least the threshold.",
        *([faint] if model.faint_hu else []),
        *([grown] if model.grow_mm else []),
    ]


def readme(found: Mapping[str, Any], example: str) -> str:
    """`README.md` beside an exported model."""
    model, parity = found["model"], found["parity"]
    rows = [("weights", model["sha256"]), ("network", model["segmenter"]), ("made by", model["trained_by"])]
    rows += [("licence", model["licence"])]
    files = [f"- `{name}`: {role}" for role, name in found["files"].items()]
    return "\n".join(
        [
            f"# Haemorrhage on head CT: {markdown_text(model['model'] or model['segmenter'])}",
            "",
            NOTICE,
            "",
            *[f"- {name}: {markdown_text(value)}" for name, value in rows],
            *[f"- limit: {markdown_text(text)}" for text in model["limits"]],
            "",
            "## Files",
            "",
            *files,
            "",
            f"Input `images`: {found['input']['shape']}, float32 in [-1, 1]. Output `logits`: the same shape.",
            f"Probabilities differ from those of the model by at most {parity['probability']:.1e} on "
            f"{parity['slices']} test slices.",
            "",
            "## Before the network",
            "",
            *[f"{number}. {markdown_text(step)}" for number, step in enumerate(found["before"]["steps"], start=1)],
            "",
            "## After the network",
            "",
            *[f"{number}. {step}" for number, step in enumerate(found["after"]["steps"], start=1)],
            "",
            "## Run it",
            "",
            example.strip("\n"),
            "",
        ]
    )
