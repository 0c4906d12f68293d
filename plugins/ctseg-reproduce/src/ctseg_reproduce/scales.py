"""How large a reproduction is: size of the slices, cohort, widths and schedules.

A scale has a preset of its own. Under another one (`--preset`) it keeps its sizes and the number of steps, so that
presets differ in nothing else. Tables print both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ctseg.errors import SettingError, unknown_name
from ctseg.preprocess.settings import WINDOW_HU

Values = Mapping[str, Any]
FIRST_COHORT = 3000
"""Neither the demo's cohort (0) nor 2023: their test patients were looked at while settings were chosen."""
PRESETS = ("paper", "released", "default")
"""Presets that every scale can be run with beside its own."""


def cohort_seed(seed: int) -> int:
    """The phantom cohort of a row's seed: each seed has patients of its own, so intervals speak of cohorts.

    Args:
        seed: of a row, 0 or more.
    """
    return FIRST_COHORT + seed


@dataclass(frozen=True)
class Scale:
    """One scale; mappings are flags or settings of the commands they are named for."""

    name: str
    summary: str
    size: int
    """Height and width of a slice in pixels."""
    preset: str
    resnet: Values
    """CycleGAN's generators."""
    unet: Values
    cohort: Values
    """Patients of a phantom cohort; its seed is `cohort_seed` of the row's."""
    phantom: Values = field(default_factory=dict)
    slices: str = "25:135"
    """MR levels: all that hold brain, for the test is on whole scans (docs/decisions/0005-all-levels.md)."""
    split: str = ""
    synthesis: Values = field(default_factory=dict)
    """Schedule of stage 1."""
    adaptation: Values = field(default_factory=dict)
    """Schedule of stage 2."""
    supervised: Values = field(default_factory=dict)
    """Schedule of each fold of Table 5."""
    folds: int = 5
    amd: Values = field(default_factory=dict)
    """Sizes of the paper's generator; those of the preset where empty, as for the next."""
    fcn: Values = field(default_factory=dict)
    minutes: Values = field(default_factory=dict)
    """Estimated minutes of a stage, by the kind of its folder; `segmenter` is a row of Tables 2 to 4."""
    sizes: Values = field(default_factory=dict)
    """Fields of this class that hold under another preset; `synthesis` and `adaptation` are merged."""
    variant: str = ""
    """The preset that was chosen in place of the scale's own."""
    window: str = ""
    """`LOW:HIGH`, HU of CT that become 0 and 255; empty: those of `ctseg preprocess`."""

    def with_preset(self, name: str) -> Scale:
        """The same sizes and numbers of steps under another preset; the rule of selection is that preset's.

        Raises:
            SettingError: if the preset is not one of `PRESETS`.
        """
        if name == self.preset:
            return self
        if name not in PRESETS:
            raise SettingError(unknown_name("preset", name, list(PRESETS)))
        stored = {key: value for key, value in self.adaptation.items() if key != "selection"}
        return replace(
            self,
            preset=name,
            variant=name,
            amd=self.sizes.get("amd", {}),
            fcn=self.sizes.get("fcn", {}),
            synthesis={**self.sizes.get("synthesis", {}), **self.synthesis},
            adaptation={**stored, **self.sizes.get("adaptation", {})},
        )

    def with_window(self, low: float, high: float) -> Scale:
        """The same, with every CT slice in a window of its own: HU that become 0 and 255."""
        return replace(self, window="" if (low, high) == WINDOW_HU else f"{low:g}:{high:g}")

    @property
    def window_folder(self) -> str:
        """Folder of what rests on another window; empty where it is that of `ctseg preprocess`."""
        return f"hu-{self.window.replace(':', '-')}" if self.window else ""

    @property
    def window_note(self) -> str:
        """A sentence for notes on a table; empty for the usual window."""
        return f" CT slices are of {self.window.replace(':', ' to ')} HU." if self.window else ""

    def file_name(self, table: str) -> str:
        """Name of a table's files, without their ending: presets and windows share a folder."""
        return "-".join(part for part in (table, self.variant, self.window_folder) if part)


SMOKE = Scale(
    "smoke",
    "48 x 48 pixels, tiny networks, a few steps: shows that every row runs, measures nothing",
    size=48,
    preset="smoke",
    resnet={"width": 4, "blocks": 1},
    unet={"width": 4, "depth": 2},
    cohort={"mr": 2, "ct": 2, "ct_test": 2},
    phantom={"mr_matrix": 96, "mr_slices": 40, "ct_matrix": 128, "ct_slice_step_mm": 12},
    slices="14:26",
    split="0.5:0.5",
    adaptation={"keep_epochs": True},
    folds=2,
    minutes={"data": 0.3, "synthesis": 0.05, "segmenter": 0.1, "finetune": 0.1},
    sizes={
        "amd": {"width": 4, "growth": 2, "layers": 2},
        "fcn": {"width": 4},
        "synthesis": {
            "discriminator_width": 4, "features_width": 4, "lesion_width": 4, "batch_size": 2, "epochs": 2,
            "decay_epochs": 0, "steps_per_epoch": 2, "sample_every": 1, "audit_slices": 4,
        },
        "adaptation": {
            "discriminator_width": 4, "batch_size": 2, "epochs": 2, "steps_per_epoch": 2, "sample_every": 1,
        },
    },
)  # fmt: skip
CPU = Scale(
    "cpu",
    "96 x 96 pixels, a quarter of the paper's widths, 600 steps of stage 1 and 540 of stage 2: for two CPU cores",
    size=96,
    preset="demo",
    resnet={"width": 16, "blocks": 6},  # 6 blocks up to 128 pixels: Zhu et al. 2017, 7.2
    unet={"width": 16},
    cohort={"mr": 24, "ct": 24, "ct_test": 24},
    synthesis={"steps_per_epoch": 50},
    # All epochs are stored for the study of the selection rules.
    adaptation={"steps_per_epoch": 45, "keep_epochs": True, "selection": "last"},
    supervised={"epochs": 4, "decay_epochs": 2, "steps_per_epoch": 40},
    minutes={"data": 9, "synthesis": 11, "segmenter": 5, "finetune": 5},  # measured, several processes on two cores
    sizes={
        "amd": {"width": 16},
        "fcn": {"width": 16},
        "synthesis": {
            "discriminator_width": 16, "features_width": 16, "lesion_width": 16, "batch_size": 4, "epochs": 8,
            "decay_epochs": 4, "sample_every": 2,
        },
        # A constant rate, as in the released code; the demo's falling one belongs to its optimiser.
        "adaptation": {"discriminator_width": 16, "epochs": 12, "decay_epochs": 0, "sample_every": 4},
    },
)  # fmt: skip
GPU = Scale(
    "gpu",
    "240 x 240 pixels, the method's real widths, 4500 steps of stage 1 and 2250 of stage 2: for one GPU",
    size=240,
    preset="default",
    resnet={"width": 64, "blocks": 9},
    unet={"width": 64},
    cohort={"mr": 96, "ct": 96, "ct_test": 36},
    # The released code trains 1500 and 100 epochs on 15,480 slices, over days.
    synthesis={"batch_size": 4, "epochs": 10, "decay_epochs": 5, "steps_per_epoch": 300},
    adaptation={"epochs": 10, "decay_epochs": 5, "steps_per_epoch": 150},
    supervised={"epochs": 6, "decay_epochs": 4, "steps_per_epoch": 100},
    # Steps measured on an H200 (docs/performance-gpu.md), and a minute to segment 36 scans; data are CPU work.
    minutes={"data": 20, "synthesis": 6, "segmenter": 2, "finetune": 3},
    sizes={"adaptation": {"epochs": 15, "decay_epochs": 0}},
)
SCALES = {scale.name: scale for scale in (SMOKE, CPU, GPU)}


def get_scale(name: str) -> Scale:
    """A scale by name.

    Raises:
        SettingError: listing the known ones.
    """
    if name not in SCALES:
        raise SettingError(unknown_name("scale", name, list(SCALES)))
    return SCALES[name]
