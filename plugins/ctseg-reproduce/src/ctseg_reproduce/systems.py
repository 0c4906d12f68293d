"""Every system that the paper compares, by name, with the number it reports, and those that go past it.

Table 3's last row and Table 4's first are one system (85.77 in both), so Table 3 trains stage 2 on all of the source,
and Table 4 alone chooses among it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ctseg.errors import SettingError, unknown_name
from ctseg.training.presets import ADAPTATION, MR_SOURCE, PLUS, PLUS_ALL
from ctseg_reproduce.scales import Scale
from ctseg_reproduce.whole_head import WHOLE_HEAD


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
    source_subset: str = ""
    """Which source set of Table 4 it is trained on; empty: all of the training split."""
    matched_pairs: bool = False
    """Stage 2 matches by itself: it trains on the matched set, and a slice meets a CT slice it was matched with."""
    brain_extractor: str = ""
    """Of its CT slices, in training and in the test; empty: the default."""
    shuffled: bool = False
    """Control: each slice has another slice's mask."""
    every_slice: bool = False
    """Its target is every slice of the target's patients, chosen by no label, where scans are given (`--train`)."""
    segmenter: str = "fcn"
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What it changes in the scale's preset."""
    longer: int = 1
    """Times the scale's steps."""


@dataclass(frozen=True)
class Finetuned:
    """A segmenter trained with CT labels, k-fold by patient (Table 5)."""

    name: str
    title: str
    segmenter: str
    start: str = ""
    """The `Row` whose weights it starts from; empty: untrained."""
    shuffled: bool = False


@dataclass(frozen=True)
class LocationPrior:
    """Control without a network: where the source's lesions tend to lie, as large as the true haemorrhage."""

    name: str
    title: str
    shuffled: bool = False


AnyRow = Row | Finetuned | LocationPrior
LOCATION_PRIOR = "location-prior"

PLUS_PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean-teacher": ("mean teacher, masked patches, copy-paste", {"lambda_consistency": 0, "copy_paste": 0}),
    "copy-paste": ("copy-paste of haemorrhages into CT", {"copy_paste": 0}),
    "frozen-batch-norm": ("frozen batch norm", {"freeze_batch_norm_from": 0}),
    "output-adversary": ("adversary on the outputs", {"lambda_adv_output": 0}),
    "synthetic-haemorrhage": ("synthetic haemorrhage", {"synthetic_haemorrhage": 0}),
    "distractors": ("distractors", {"distractors": 0}),
    "ct-intensity": ("brightness and contrast of CT", {"brightness": 0.2, "brightness_shift": 0, "contrast": 0.25}),
    "appearance": ("bias field, noise, rotation, zoom", {"bias_field": 0, "noise": 0, "rotation_deg": 0, "zoom": 0}),
    "slice-dice": ("loss for small lesions", {"loss": "bce+dice"}),
}
"""What was tried for `plus`, and how each part is left out."""
PLUS_WITHOUT = tuple(f"plus-without-{part}" for part in (*PLUS_PARTS, "every-slice"))
"""The rows that leave out one part each; every slice is a target, not a setting."""
UNSUPERVISED_OFF = {
    "synthetic_haemorrhage": 0,
    "lambda_adv_output": 0,
    "lambda_consistency": 0,
    "copy_paste": 0,
    "selection": "last",
}
"""The parts of `plus` that replace labels, turned off: the upper bounds have labelled CT for their source."""

_ROWS: tuple[AnyRow, ...] = (
    Row("mr", "Baseline (MR)", "mr"),
    Row("cyclegan", "CycleGAN", "cyclegan"),
    Row("mask-cyclegan", "Mask supervised CycleGAN", "mask-cyclegan"),
    Row("matched-mask-cyclegan", "Matched mask supervised CycleGAN", "matched-mask-cyclegan"),
    Row("proposed", "The proposed synthesis network", "proposed"),
    Row("shuffled", "Control: the proposed network, labels shuffled", "proposed", shuffled=True),
    LocationPrior(LOCATION_PRIOR, "Control: location prior of the source masks, at the true volume"),
    Row("das", "DAS (one stage)", "mr", adversary=True),
    Row("das-whole-head", "DAS (one stage), CT with the skull", "mr", adversary=True, brain_extractor=WHOLE_HEAD),
    Row("cyclegan-das", "CycleGAN + DAS", "cyclegan", adversary=True),
    Row("mask-cyclegan-das", "Mask CycleGAN + DAS", "mask-cyclegan", adversary=True),
    Row("matched-mask-cyclegan-das", "Matched mask CycleGAN + DAS", "matched-mask-cyclegan", adversary=True),
    Row("amd-das", "AMD-DAS, all source slices", "proposed", adversary=True),
    Row("shuffled-das", "Control: AMD-DAS, labels shuffled", "proposed", adversary=True, shuffled=True),
    *(
        Row(name, f"AMD-DAS, {title}", "proposed", adversary=True, source_subset=name)
        for name, title in (
            ("unmatched-1", "unmatched 1 (all but the matched)"),
            ("unmatched-2", "unmatched 2 (random, of all)"),
            ("unmatched-3", "unmatched 3 (random, of unmatched 1)"),
            ("matched", "matched source slices"),
        )
    ),
    Row("matched-pairs", "AMD-DAS, matched slices, each with its matched CT", "proposed", True, matched_pairs=True),
    Row("plus", "Plus", "proposed", adversary=True, every_slice=True, settings=PLUS),
    Row("plus-tried", "All that was tried for plus", "proposed", adversary=True, every_slice=True, settings=PLUS_ALL),
    *(
        Row(
            f"plus-without-{part}",
            f"All tried without: {title}",
            "proposed",
            adversary=True,
            every_slice=True,
            settings={**PLUS_ALL, **off},
        )
        for part, (title, off) in PLUS_PARTS.items()
    ),
    Row(
        "plus-without-every-slice",
        "All tried without: CT slices without IPH",
        "proposed",
        adversary=True,
        settings=PLUS_ALL,
    ),
    Row("supervised", "Upper bound: trained on the same CT patients with labels", "ct"),
    Row(
        "supervised-balanced",
        "Upper bound, half of each batch with a haemorrhage, four times as long",
        "ct",
        settings={"lesion_share": 0.5},
        longer=4,
    ),
    Row(
        "supervised-plus",
        "Upper bound with what plus does to source slices",
        "ct",
        settings={**PLUS_ALL, **UNSUPERVISED_OFF},
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


ROWS: dict[str, AnyRow] = {row.name: row for row in _ROWS}

TABLES: dict[str, dict[str, float | None]] = {
    "table2": {
        "mr": 72.42, "cyclegan": 65.15, "mask-cyclegan": 67.67, "matched-mask-cyclegan": 76.28, "proposed": 81.41,
        "shuffled": None, "location-prior": None,
    },
    "table3": {
        "das": 74.22, "das-whole-head": 74.22, "cyclegan-das": 72.31, "mask-cyclegan-das": 78.60,
        "matched-mask-cyclegan-das": 80.14, "amd-das": 85.77, "shuffled-das": None, "location-prior": None,
    },
    "table4": {
        "amd-das": 85.77, "unmatched-1": 83.55, "unmatched-2": 83.24, "unmatched-3": 82.12, "matched": 86.93,
        "matched-pairs": 86.93, "shuffled-das": None, "location-prior": None,
    },
    "table5": {
        "fcn-none": 93.82, "fcn-mr": 94.50, "fcn-synthetic": 95.01, "fcn-amd-das": 95.10,
        "unet-none": 95.49, "unet-mr": 95.73, "unet-synthetic": 95.96, "fcn-shuffled": None,
    },
    "plus": {
        "amd-das": 85.77, "plus": None, "plus-tried": None,
        **dict.fromkeys(PLUS_WITHOUT),
        "supervised": None, "supervised-balanced": None, "supervised-plus": None, "shuffled-das": None,
        "location-prior": None,
    },
}  # fmt: skip
"""Table -> row -> the paper's Dice in %; None for what the paper does not report.

Two readings of one of the paper's rows have its number both: DAS on skull-stripped CT as in Table 2, or "with the
skull" (4.3.3); the matched set with CT drawn at random, or matched with it (3.1.4).
"""
REFERENCE = {
    "table2": "proposed",
    "table3": "amd-das",
    "table4": "matched",
    "table5": "fcn-none",
    "plus": "amd-das",
}
"""The row that each table is about: the others are compared with it, paired by patient."""

SELECTION_STUDIES: dict[str, tuple[str, ...]] = {
    "selection": (
        "mr", "proposed", "das", "cyclegan-das", "mask-cyclegan-das", "matched-mask-cyclegan-das", "amd-das", "plus",
    ),
}  # fmt: skip
"""The runs that the label-free selection rules are studied on: good and bad systems, with and without an adversary."""

CLAIMS = "claims"
"""The study that asks for a verdict on each of `CLAIM_PAIRS`."""
CLAIM_PAIRS: tuple[tuple[str, str, str], ...] = (
    ("Matching helps the synthesis network", "matched-mask-cyclegan", "mask-cyclegan"),
    ("The shared fusion module helps", "proposed", "matched-mask-cyclegan"),
    ("Mask supervision helps CycleGAN", "mask-cyclegan", "cyclegan"),
    ("CycleGAN alone is worse than MR", "mr", "cyclegan"),
    ("The proposed pseudo-CT is better than MR", "proposed", "mr"),
    ("DAS helps on MR", "das", "mr"),
    ("DAS helps on MR, CT with the skull", "das-whole-head", "mr"),
    ("DAS helps on the pseudo-CT of CycleGAN", "cyclegan-das", "cyclegan"),
    ("DAS helps on the pseudo-CT of mask CycleGAN", "mask-cyclegan-das", "mask-cyclegan"),
    ("DAS helps on the pseudo-CT of matched mask CycleGAN", "matched-mask-cyclegan-das", "matched-mask-cyclegan"),
    ("DAS helps on the proposed pseudo-CT", "amd-das", "proposed"),
    ("Two stages are better than one", "amd-das", "das"),
    ("The matched set is better than all of the source", "matched", "amd-das"),
    ("The matched set is better than all but it", "matched", "unmatched-1"),
    ("The matched set is better than as many random slices", "matched", "unmatched-2"),
    ("The matched set is better than as many unmatched slices", "matched", "unmatched-3"),
    ("All of the source is better than a part of it", "amd-das", "unmatched-1"),
    ("The matched set with its CT is better than all of the source", "matched-pairs", "amd-das"),
    ("MR is a better start than nothing (FCN)", "fcn-mr", "fcn-none"),
    ("Synthetic CT is a better start than MR (FCN)", "fcn-synthetic", "fcn-mr"),
    ("AMD-DAS is a better start than synthetic CT (FCN)", "fcn-amd-das", "fcn-synthetic"),
    ("AMD-DAS is a better start than nothing (FCN)", "fcn-amd-das", "fcn-none"),
    ("MR is a better start than nothing (U-Net)", "unet-mr", "unet-none"),
    ("Synthetic CT is a better start than MR (U-Net)", "unet-synthetic", "unet-mr"),
    ("Control: AMD-DAS is above shuffled labels", "amd-das", "shuffled-das"),
    ("Control: AMD-DAS is above the location prior", "amd-das", "location-prior"),
)
"""(what is claimed, the better row, the worse row); a control's second row is no system of the paper."""

TITLES = {
    "table2": "Table 2: evaluation of the synthesis network",
    "table3": "Table 3: evaluation of the whole models",
    "table4": "Table 4: the matching mechanism under different source sets",
    "table5": "Table 5: supervised transfer learning",
    "plus": "Beyond the paper: preset plus, its parts, and the supervised upper bound",
}


def get_rows(table: str, names: list[str] | None = None) -> list[AnyRow]:
    """The rows of a table in the paper's order, all or the named ones.

    Raises:
        SettingError: if the table or a row is unknown.
    """
    claimed = dict.fromkeys(name for _, better, worse in CLAIM_PAIRS for name in (better, worse))
    tables: dict[str, Iterable[str]] = {**TABLES, **SELECTION_STUDIES, CLAIMS: claimed}
    if table not in tables:
        from ctseg_reproduce.shipped_models import SHIPPED_MODELS

        raise SettingError(unknown_name("table", table, [*tables, *SHIPPED_MODELS]))
    known = list(tables[table])
    for name in names or ():
        if name not in known:
            raise SettingError(unknown_name(f"row of {table}", name, known))
    return [ROWS[name] for name in known if not names or name in names]


def is_control(row: AnyRow) -> bool:
    """Whether it is there to be scored below."""
    return row.shuffled or isinstance(row, LocationPrior)


def is_painted(row: AnyRow) -> bool:
    """Whether blood or what looks like it is painted into its slices, in greys that belong to the usual window."""
    return isinstance(row, Row) and any(row.settings.get(name) for name in ("synthetic_haemorrhage", "distractors"))


def needs_scans(row: AnyRow) -> bool:
    """Whether its CT slices are its own, those with the skull, made from scans that are optional."""
    return isinstance(row, Row) and bool(row.brain_extractor)


def paper_dice(row: str) -> float | None:
    """The paper's Dice of a row in %, from whichever table has it."""
    return next((table[row] for table in TABLES.values() if table.get(row) is not None), None)


def synthesis_settings(system: Synthesis, scale: Scale) -> dict[str, Any]:
    """`--set` of `synth-train`."""
    sizes = scale.resnet if system.generator == "resnet" else scale.amd
    own = {f"generator_settings.{key}": value for key, value in sizes.items()}
    return {**scale.synthesis, **own, **system.settings}


def adaptation_settings(row: Row, scale: Scale) -> dict[str, Any]:
    """`--set` of `das-train`: the source is a list or all of it, and the adversary is the preset's or none.

    Where MR is the source, values that a preset has for pseudo-CT are replaced by those for MR (decision 6).
    """
    known = ADAPTATION[scale.preset]
    for_mr = {
        name: value for name, value in MR_SOURCE.items() if row.source == "mr" and known.get(name, value) != value
    }
    steps = scale.adaptation.get("steps_per_epoch", known.get("steps_per_epoch"))
    return {
        **for_mr,
        **scale.adaptation,
        **({"steps_per_epoch": row.longer * steps} if row.longer > 1 else {}),
        **segmenter_settings(row.segmenter, scale),
        **({} if row.adversary else {"lambda_adv": 0}),
        **row.settings,
        "matched": row.matched_pairs,
    }


def segmenter_settings(segmenter: str, scale: Scale) -> dict[str, Any]:
    """The network's sizes; the FCN's are those of the preset where the scale names none."""
    sizes = scale.unet if segmenter == "unet" else scale.fcn
    return {f"segmenter_settings.{key}": value for key, value in sizes.items()}
