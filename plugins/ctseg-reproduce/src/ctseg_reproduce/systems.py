"""Every system that the paper compares, by name, with the number it reports, and those that go past it.

Table 3's last row and Table 4's first are one system (85.77 in both), so Table 3 trains stage 2 on all of the source,
and Table 4 alone chooses among it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ctseg.errors import SettingError, unknown_name
from ctseg.training.presets import ADAPTATION, FOR_MR, MENDING, PLUS, PLUS_TRIED
from ctseg_reproduce.scales import Scale


@dataclass(frozen=True)
class Synthesis:
    """A stage-1 system of Table 2."""

    name: str
    generator: str
    settings: dict[str, Any] = field(default_factory=dict)
    """What it changes in the scale's preset."""

    @property
    def matched(self) -> bool:
        """Whether it draws targets among a slice's pairs."""
        return bool(self.settings.get("matched", True))


SYNTHESIS = {
    item.name: item
    for item in (
        Synthesis("cyclegan", "resnet", {"lambda_les": 0, "lambda_fda": 0, "matched": False}),
        Synthesis("mask-cyclegan", "resnet", {"lambda_fda": 0, "matched": False}),
        Synthesis("matched-mask-cyclegan", "resnet", {"lambda_fda": 0}),
        Synthesis("proposed", "amd"),
    )
}


@dataclass(frozen=True)
class Row:
    """A segmenter trained without CT labels and tested on held-out CT scans."""

    name: str
    title: str
    source: str
    """'mr', the synthesis system whose pseudo-CT it is trained on, or 'ct': labelled CT of the training patients."""
    adversary: bool = False
    """With DAS (stage 2)."""
    source_list: str = ""
    """Which list of Table 4 it is trained on; empty: all of the training split."""
    shuffled: bool = False
    """Control: each slice has another slice's mask."""
    every_slice: bool = False
    """Its target is every slice of the target's patients, chosen by no label, where scans are given (`--train`)."""
    segmenter: str = "fcn"
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What it changes in the scale's preset."""


@dataclass(frozen=True)
class Finetuned:
    """A segmenter trained with CT labels, k-fold by patient (Table 5)."""

    name: str
    title: str
    segmenter: str
    start: str = ""
    """The `Row` whose weights it starts from; empty: untrained."""
    shuffled: bool = False


AnyRow = Row | Finetuned

PLUS_PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "teacher": ("mean teacher, hidden patches, pasting", {"lambda_consistency": 0, "copy_paste": 0}),
    "pasted": ("haematomas laid over CT", {"copy_paste": 0}),
    "held-norms": ("batch norm that is held", {"freeze_batch_norm_from": 0}),
    "output": ("adversary on the outputs", {"lambda_adv_output": 0}),
    "haematomas": ("lesions repainted as blood", {"synthetic_haemorrhage": 0}),
    "distractors": ("distractors", {"distractors": 0}),
    "calibration": ("brightness and contrast of CT", {"brightness": 0.2, "brightness_shift": 0, "contrast": 0.25}),
    "appearance": ("shading, noise, turns, sizes", {"bias_field": 0, "noise": 0, "rotation_deg": 0, "zoom": 0}),
    "slice-dice": ("loss for small lesions", {"loss": "bce+dice"}),
}
"""What was tried for `plus`, and how each part is left out."""
PLUS_WITHOUT = tuple(f"plus-without-{part}" for part in (*PLUS_PARTS, "every-slice"))
"""The rows that leave out one part each; every slice is a target, not a setting."""
MENDED = (
    "mr", "cyclegan", "mask-cyclegan", "matched-mask-cyclegan", "proposed",
    "das", "cyclegan-das", "mask-cyclegan-das", "matched-mask-cyclegan-das", "amd-das",
    "unmatched-1", "unmatched-2", "unmatched-3", "matched",
)  # fmt: skip
"""Rows of Tables 2 to 4 that are also trained with batch norm held and, on pseudo-CT, with CT's brightness."""
UNSUPERVISED_OFF = {
    "synthetic_haemorrhage": 0,
    "lambda_adv_output": 0,
    "lambda_consistency": 0,
    "copy_paste": 0,
    "selection": "last",
}
"""What of `plus` is there for the lack of labels: with labelled CT for its source it has nothing to do."""

_ROWS: tuple[AnyRow, ...] = (
    Row("mr", "Baseline (MR)", "mr"),
    Row("cyclegan", "CycleGAN", "cyclegan"),
    Row("mask-cyclegan", "Mask supervised CycleGAN", "mask-cyclegan"),
    Row("matched-mask-cyclegan", "Matched mask supervised CycleGAN", "matched-mask-cyclegan"),
    Row("proposed", "The proposed synthesis network", "proposed"),
    Row("shuffled", "Control: the proposed network, labels shuffled", "proposed", shuffled=True),
    Row("das", "DAS (one stage)", "mr", adversary=True),
    Row("cyclegan-das", "CycleGAN + DAS", "cyclegan", adversary=True),
    Row("mask-cyclegan-das", "Mask CycleGAN + DAS", "mask-cyclegan", adversary=True),
    Row("matched-mask-cyclegan-das", "Matched mask CycleGAN + DAS", "matched-mask-cyclegan", adversary=True),
    Row("amd-das", "AMD-DAS, all source slices", "proposed", adversary=True),
    Row("shuffled-das", "Control: AMD-DAS, labels shuffled", "proposed", adversary=True, shuffled=True),
    *(
        Row(name, f"AMD-DAS, {title}", "proposed", adversary=True, source_list=name)
        for name, title in (
            ("unmatched-1", "unmatched 1 (all but the matched)"),
            ("unmatched-2", "unmatched 2 (random, of all)"),
            ("unmatched-3", "unmatched 3 (random, of unmatched 1)"),
            ("matched", "matched source slices"),
        )
    ),
    Row("plus", "Plus", "proposed", adversary=True, every_slice=True, settings=PLUS),
    Row(
        "plus-tried",
        "All that was tried for plus",
        "proposed",
        adversary=True,
        every_slice=True,
        settings=PLUS_TRIED,
    ),
    *(
        Row(
            f"plus-without-{part}",
            f"All tried without: {title}",
            "proposed",
            adversary=True,
            every_slice=True,
            settings={**PLUS_TRIED, **off},
        )
        for part, (title, off) in PLUS_PARTS.items()
    ),
    Row(
        "plus-without-every-slice",
        "All tried without: CT slices without IPH",
        "proposed",
        adversary=True,
        settings=PLUS_TRIED,
    ),
    Row("supervised", "Upper bound: trained on the same CT patients with labels", "ct"),
    Row(
        "supervised-plus",
        "Upper bound with what plus does to source slices",
        "ct",
        settings={**PLUS_TRIED, **UNSUPERVISED_OFF},
    ),
    Row("unet-on-mr", "U-Net, Baseline (MR)", "mr", segmenter="unet"),
    Row("unet-on-proposed", "U-Net on the proposed network's pseudo-CT", "proposed", segmenter="unet"),
    Finetuned("fcn-none", "FCN, from nothing", "fcn"),
    Finetuned("fcn-mr", "FCN, from MRI", "fcn", "mr"),
    Finetuned("fcn-synthetic", "FCN, from synthetic CT", "fcn", "proposed"),
    Finetuned("fcn-amd-das", "FCN, from AMD-DAS parameters", "fcn", "amd-das"),
    Finetuned("unet-none", "U-Net, from nothing", "unet"),
    Finetuned("unet-mr", "U-Net, from MRI", "unet", "unet-on-mr"),
    Finetuned("unet-synthetic", "U-Net, from synthetic CT", "unet", "unet-on-proposed"),
    Finetuned("fcn-shuffled", "Control: FCN, labels shuffled", "fcn", shuffled=True),
)


def mended(row: Row) -> Row:
    """A row of Tables 2 to 4 with what mends it; MR has no unit, so its brightness stays free."""
    kept = ("brightness", "brightness_shift") if row.source == "mr" else ()
    settings = {name: value for name, value in MENDING.items() if name not in kept}
    return replace(row, name=f"{row.name}-mended", title=f"{row.title}, mended", settings=settings)


_MENDED = [mended(row) for row in _ROWS if isinstance(row, Row) and row.name in MENDED]
ROWS = {row.name: row for row in (*_ROWS, *_MENDED)}

TABLES: dict[str, dict[str, float | None]] = {
    "table2": {
        "mr": 72.42, "cyclegan": 65.15, "mask-cyclegan": 67.67, "matched-mask-cyclegan": 76.28, "proposed": 81.41,
        "shuffled": None,
    },
    "table3": {
        "das": 74.22, "cyclegan-das": 72.31, "mask-cyclegan-das": 78.60, "matched-mask-cyclegan-das": 80.14,
        "amd-das": 85.77, "shuffled-das": None,
    },
    "table4": {
        "amd-das": 85.77, "unmatched-1": 83.55, "unmatched-2": 83.24, "unmatched-3": 82.12, "matched": 86.93,
        "shuffled-das": None,
    },
    "table5": {
        "fcn-none": 93.82, "fcn-mr": 94.50, "fcn-synthetic": 95.01, "fcn-amd-das": 95.10,
        "unet-none": 95.49, "unet-mr": 95.73, "unet-synthetic": 95.96, "fcn-shuffled": None,
    },
    "plus": {
        "amd-das": 85.77, "amd-das-mended": None, "plus": None, "plus-tried": None,
        **dict.fromkeys(PLUS_WITHOUT),
        "supervised": None, "supervised-plus": None, "shuffled-das": None,
    },
}  # fmt: skip
"""Table -> row -> the paper's Dice in %; None for what the paper has not."""
TABLES["mended"] = {
    **{f"{name}-mended": {**TABLES["table2"], **TABLES["table3"], **TABLES["table4"]}[name] for name in MENDED},
    "shuffled-das": None,
}
REFERENCE = {
    "table2": "proposed",
    "table3": "amd-das",
    "table4": "matched",
    "table5": "fcn-none",
    "plus": "amd-das",
    "mended": "amd-das-mended",
}
"""The row that each table's argument is about: the others are compared with it, patient by patient."""

RULES_STUDIES: dict[str, tuple[str, ...]] = {
    "selection": (
        "mr", "proposed", "das", "cyclegan-das", "mask-cyclegan-das", "matched-mask-cyclegan-das", "amd-das", "plus",
    ),
    "selection-mended": (
        *(f"{name}-mended" for name in MENDED), "plus", "plus-tried", *PLUS_WITHOUT,
    ),
}  # fmt: skip
"""The runs that the label-free rules are studied on: good and bad systems, with and without an adversary."""

TITLES = {
    "table2": "Table 2: evaluation of the synthesis network",
    "table3": "Table 3: evaluation of the whole models",
    "table4": "Table 4: the matching mechanism under different source sets",
    "table5": "Table 5: supervised transfer learning",
    "mended": "Tables 2 to 4 once more: batch norm held, CT's own brightness, rule agreement",
    "plus": "Beyond the paper: preset plus, its parts, and the supervised upper bound",
}


def get_rows(table: str, names: list[str] | None = None) -> list[AnyRow]:
    """The rows of a table in the paper's order, all or the named ones.

    Raises:
        SettingError: if the table or a row is unknown.
    """
    tables = {**TABLES, **RULES_STUDIES}
    if table not in tables:
        raise SettingError(unknown_name("table", table, list(tables)))
    known = list(tables[table])
    for name in names or ():
        if name not in known:
            raise SettingError(unknown_name(f"row of {table}", name, known))
    return [ROWS[name] for name in known if not names or name in names]


def synthesis_settings(system: Synthesis, scale: Scale) -> dict[str, Any]:
    """`--set` of `synth-train`."""
    own = {f"generator_settings.{key}": value for key, value in scale.resnet.items()}
    return {**scale.synthesis, **(own if system.generator == "resnet" else {}), **system.settings}


def adaptation_settings(row: Row, scale: Scale) -> dict[str, Any]:
    """`--set` of `das-train`: the source is a list or all of it, and the adversary is the preset's or none.

    What a preset has for pseudo-CT alone is taken back where MR is the source (decision 6).
    """
    known = ADAPTATION[scale.preset]
    for_mr = {name: value for name, value in FOR_MR.items() if row.source == "mr" and known.get(name, value) != value}
    return {
        **for_mr,
        **scale.adaptation,
        **segmenter_settings(row.segmenter, scale),
        **({} if row.adversary else {"lambda_adv": 0}),
        **row.settings,
        "matched": False,
    }


def segmenter_settings(segmenter: str, scale: Scale) -> dict[str, Any]:
    """The U-Net's sizes; the FCN's are the preset's."""
    sizes = scale.unet if segmenter == "unet" else {}
    return {f"segmenter_settings.{key}": value for key, value in sizes.items()}
