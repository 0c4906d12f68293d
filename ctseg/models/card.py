"""Model cards: what a model that ships is made of, how, and what it cannot do, as JSON beside its weights.

After Mitchell et al., Model Cards for Model Reporting (FAT* 2019). A run has a card of its own (`model-card.md`), which
says what the run knows; this one also says what a run cannot know: licences, and how good the model is.
"""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ctseg.errors import InputError, unknown_name
from ctseg.files import read_json, write_json
from ctseg.harmless import one_line
from ctseg.models.card_files import CARD_SCHEMA, MAX_BYTES
from ctseg.settings import Settings

NOT_STATED = "not stated"
"""What a drafted card says where a person has to; no shipped card may."""
INTENDED_USE = (
    "Research on head CT of adults, with a person who looks at every segmentation. Not a medical device: not for "
    "diagnosis, triage or treatment."
)
SHA256 = r"^[0-9a-f]{64}$"


class _Part(Settings):
    """Text of a card is one line each: it is printed on terminals and in tables."""

    @field_validator("*", mode="after")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value if isinstance(value, tuple) else ()
        if any(isinstance(text, str) and not text.isprintable() for text in texts):
            raise ValueError("holds line breaks or control characters; write one line")
        return value


class Made(_Part):
    """How the weights came about."""

    command: str = Field(description="the one command that remakes them", min_length=1)
    machine: str = Field(description="processor, cores, GPU", min_length=1)
    seconds: float | None = Field(default=None, description="wall-clock time it took there", ge=0)
    seeds: tuple[int, ...] = Field(default=(), description="seeds of everything random")
    tool: str = Field(default="", description="ctseg and its version")
    note: str = ""


class Datum(_Part):
    """One set of data in the weights, directly or through a synthesis."""

    name: str = Field(min_length=1)
    licence: str = Field(description="SPDX name where there is one", min_length=1)
    use: str = Field(default="", description="what it served for, and which labels of it were seen")
    amount: str = Field(default="", description="patients, scans or slices")
    source: str = Field(default="", description="where it comes from")


class Measured(_Part):
    """One number and the data it was measured on."""

    data: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    value: float
    low: float | None = Field(default=None, description="ends of its 95 % interval")
    high: float | None = Field(default=None)
    cases: int | None = Field(default=None, ge=0)
    note: str = ""

    @model_validator(mode="after")
    def _interval(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("give both ends of the interval, low and high, or none")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("the interval's end low is above high")
        return self


class VolumeBin(_Part):
    """How the true volume related to the segmented one in patients with a lesion, for one range of the latter."""

    up_to_ml: float | None = Field(default=None, gt=0, description="its end; None: none")
    factor: float = Field(ge=0.01, le=100, description="median of true over segmented")
    low: float = Field(ge=0.01, le=100, description="ends of the interval of true over segmented")
    high: float = Field(ge=0.01, le=1_000_000)
    cases: int = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.factor <= self.high:
            raise ValueError("factor has to lie between low and high")
        return self


class VolumeCalibration(_Part):
    """By how much the model's volumes are off, by size (`ctseg.evaluation.volume_bins`)."""

    data: str = Field(description="what it was measured on", min_length=1)
    level: float = Field(default=0.9, gt=0, lt=1, description="of the intervals")
    bins: tuple[VolumeBin, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        ends = [math.inf if item.up_to_ml is None else item.up_to_ml for item in self.bins]
        if any(one >= other for one, other in pairwise(ends)) or not math.isinf(ends[-1]):
            raise ValueError("bins have to be in order of up_to_ml, and the last without one")
        return self

    def corrected(self, ml: float) -> tuple[float, float, float]:
        """The volume with the bias taken out, and its interval, in mL.

        Args:
            ml: segmented volume, above 0.
        """
        chosen = next(item for item in self.bins if item.up_to_ml is None or ml <= item.up_to_ml)
        return ml * chosen.factor, ml * chosen.low, ml * chosen.high


class ModelCard(_Part):
    """`NAME.json` beside `NAME.safetensors`; its `schema` is `CARD_SCHEMA`."""

    summary: str = Field(description="what it does, one line", min_length=1)
    sha256: str = Field(description="of the weights' file", pattern=SHA256)
    licence: str = Field(description="of the weights; SPDX name where there is one", min_length=1)
    made: Made
    training_data: tuple[Datum, ...] = Field(min_length=1)
    ct_labels: bool = Field(description="whether any outline on a real CT was learnt from")
    measured: tuple[Measured, ...] = Field(description="may be empty, but has to be there")
    limits: tuple[str, ...] = Field(description="what it cannot do", min_length=1)
    volumes: VolumeCalibration | None = Field(default=None, description="bias of its volumes, by size")
    faint_hu: float = Field(
        default=0.0, ge=0, le=50, description="the setting `faint_hu` of `segment` that the numbers were measured with"
    )
    grow_mm: float = Field(
        default=0.0, ge=0, le=10, description="the setting `grow_mm` of `segment` that the numbers were measured with"
    )
    tta: bool = Field(default=False, description="the setting `tta` of `segment` that the numbers were measured with")
    intended_use: str = INTENDED_USE
    references: tuple[str, ...] = ()


PARTS: dict[str, type[_Part]] = {
    "made": Made,
    "training_data": Datum,
    "measured": Measured,
    "volumes": VolumeCalibration,
}
"""Fields of a card that have fields of their own."""


def read_card(path: Path) -> ModelCard:
    """A card from its file.

    Raises:
        InputError: one line naming the file and the field at fault.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than a model card can be; it is not opened")
    data = read_json(path, pairs=partial(_once, path))
    schema = data.pop("schema", None) if isinstance(data, dict) else None
    if schema != CARD_SCHEMA:
        raise InputError(
            f"{path}: not a model card of this ctseg (schema {str(schema)[:40]!r}, expected {CARD_SCHEMA!r}); "
            "take card and weights of one version"
        )
    try:
        return ModelCard.model_validate_json(json.dumps(data), strict=False)
    except (ValidationError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {_fault(error)}; correct the card, see docs/models.md") from None


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of some pairs.

    Raises:
        InputError: if a field is given twice, of which only one would count.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise InputError(f"{path}: says {one_line(twice)[:40]!r} twice; keep one of them")
    return found


def _fault(error: Exception) -> str:
    """The first fault as `training_data.0.license: unknown field ...`."""
    if not isinstance(error, ValidationError):
        return "not a model card"
    fault = error.errors(include_url=False)[0]
    *above, last = ["", *(str(part) for part in fault["loc"])]
    if fault["type"] == "extra_forbidden":
        model: Any = PARTS.get("".join(above[1:2]), ModelCard)
        return ".".join([*above[1:], ""]) + unknown_name("field", last, sorted(model.model_fields))
    return f"{'.'.join([*above[1:], last])}: {fault['msg'].removeprefix('Value error, ')}"


def write_card(path: Path, card: ModelCard) -> Path:
    """Write a card as JSON, atomically; `None` and empty fields are left out."""
    return write_json(path, card_json(card))


def card_json(card: ModelCard) -> dict[str, Any]:
    """What the file of a card holds."""
    return {"schema": CARD_SCHEMA, **card.model_dump(mode="json", exclude_defaults=True)}
