"""What haematoma is wanted, given or drawn from the quantiles of BHSD."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, get_args

import numpy as np

from ctseg.arguments import a_number, of_kind, refused
from ctseg.errors import SettingError
from ctseg.implant.shares import CONTUSION_SHARE, DEEP_SHARE
from ctseg.phantom.bhsd import BHSD
from ctseg.phantom.bleed_statistics import PartSize, quantile
from ctseg.phantom.contusion import contusion_at
from ctseg.phantom.fields import Mm
from ctseg.phantom.haematoma import Haematoma, haematoma_at
from ctseg.phantom.microbleed import SMALL_ML, microbleed_at
from ctseg.phantom.parts import Part

Kind = Literal["deep", "lobar", "contusion", "microbleed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
IPH = "intraparenchymal"


@dataclass(frozen=True)
class Wanted:
    """One haematoma to lay into a head."""

    kind: Kind
    ml: float
    """Volume of its mask."""
    hu: float
    """Mean HU of the scan inside its mask."""
    oedema_mm: float | None = None
    """Width of the oedema around it; None: as drawn for the kind."""
    oedema_hu: float | None = None
    """Oedema against the tissue there, negative; None: as drawn."""

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.kind not in KINDS:
            raise SettingError(f"haematoma: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not 0 < self.ml <= 150:
            raise SettingError(f"haematoma: {self.ml:g} mL; a head holds more than 0 and up to 150 mL")
        if not 8 <= self.hu <= 105:
            raise SettingError(f"haematoma: {self.hu:g} HU; blood has 8 to 105 HU")
        if self.oedema_mm is not None and not 0 <= self.oedema_mm <= 30:
            raise SettingError(f"haematoma: oedema of {self.oedema_mm:g} mm; give 0 to 30 mm")
        if self.oedema_hu is not None and not -100 <= self.oedema_hu <= 0:
            raise SettingError(f"haematoma: oedema of {self.oedema_hu:g} HU; give -100 to 0 HU against the tissue")

    def _check_kinds(self) -> None:
        for name in ("ml", "hu", "oedema_mm", "oedema_hu"):
            value = getattr(self, name)
            if not isinstance(value, Real) and not (value is None and name.startswith("oedema")):
                raise refused(f"haematoma: {name}", value, "a number")

    def part(self, rng: np.random.Generator, centre: Mm) -> Part:
        """Draw its shape, texture and oedema around a point (mm)."""
        size = PartSize(self.ml, self.hu)
        if self.kind == "contusion":
            part = contusion_at(rng, centre, size)
        elif self.kind == "microbleed":
            part = microbleed_at(rng, centre, size)
        else:
            part = haematoma_at(rng, centre, size, "lobar" if self.kind == "lobar" else "")
        if self.oedema_mm is not None and isinstance(part.shape, Haematoma):
            part.shape.halo_mm = self.oedema_mm
        return part if self.oedema_hu is None else replace(part, oedema_hu=self.oedema_hu)


def draw_wanted(
    rng: np.random.Generator,
    *,
    kind: Kind | None = None,
    ml: float | None = None,
    hu: float | None = None,
    contusion_share: float = CONTUSION_SHARE,
) -> Wanted:
    """Draw a haematoma that follows the 270 IPH of BHSD in mL and HU; what is given is kept.

    Args:
        rng: draws what is not given.
        kind: as `Wanted`.
        ml: as `Wanted`.
        hu: as `Wanted`.
        contusion_share: how many of up to 25 mL are contusions, 0 to 1.

    Raises:
        InputError: if `rng` is no generator, or a number is none.
        SettingError: as `Wanted`.
    """
    of_kind(rng, np.random.Generator, "draw_wanted: rng", "a generator (`numpy.random.default_rng(seed)`)")
    for name, value in (("ml", ml), ("hu", hu), ("contusion_share", contusion_share)):
        if value is not None:
            a_number(value, f"draw_wanted: {name}")
    table = BHSD[IPH]
    ml = quantile(table.ml, float(rng.random()), log=True) if ml is None else ml
    hu = quantile(table.hu_of(ml), float(rng.random())) if hu is None else hu
    return Wanted(_draw_kind(rng, ml, contusion_share) if kind is None else kind, ml, hu)


def _draw_kind(rng: np.random.Generator, ml: float, contusion_share: float) -> Kind:
    """Contusions in their share; of the rest small ones are microbleeds, larger ones deep or lobar."""
    contusion, deep = rng.random(2) < (contusion_share, DEEP_SHARE)
    if contusion and ml <= 25.0:
        return "contusion"
    if ml < SMALL_ML:
        return "microbleed"
    return "deep" if deep else "lobar"
