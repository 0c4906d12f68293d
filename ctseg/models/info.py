"""What is known of a model without running it: header, card, digest; whether they agree. torch is not needed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctseg.errors import CtsegError, InputError, first_line
from ctseg.files import read_json_beside
from ctseg.io.input_digests import DIGITS, file_sha256
from ctseg.models.card import SHA256, ModelCard, read_card
from ctseg.models.catalogue import RUN_WEIGHTS, Catalogue, ModelSource
from ctseg.outputs.mark import MARK, read_mark
from ctseg.runs import ModelHeader, model_path, read_header

METADATA, RUN_DIGEST = "metadata.json", "weights_sha256"
"""A run's file of what it is, after MONAI's bundles, and the key in it that holds the digest of its weights."""


@dataclass(frozen=True)
class ModelInfo:
    """One model as `ctseg models` shows it."""

    source: ModelSource
    error: str = ""
    """Why it cannot be used, one line; empty where it can."""
    header: ModelHeader | None = None
    card: ModelCard | None = None
    sha256: str = ""
    bytes: int = 0

    @property
    def licence(self) -> str:
        """Of the weights."""
        return self.card.licence if self.card else "not stated (no card)"

    @property
    def training_data(self) -> list[str]:
        """One text for each set of data: the card's with their licences, else what the header recorded."""
        if self.card:
            return [f"{datum.name} ({datum.licence})" for datum in self.card.training_data]
        recorded = self.header.training.get("data") if self.header else None
        sets = recorded.items() if isinstance(recorded, Mapping) else ()
        return [f"{name} {item.get('folder')} (licence not stated)" for name, item in sets if isinstance(item, Mapping)]

    @property
    def limits(self) -> list[str]:
        """What the card says that it cannot do."""
        return list(self.card.limits) if self.card else ["not stated (no card)"]

    def row(self) -> dict[str, Any]:
        """For `--json`."""
        source, header = self.source, self.header
        return {
            "name": source.name,
            "origin": source.origin,
            "owner": source.owner,
            "status": "broken" if self.error else "ok",
            "error": self.error,
            "path": str(source.path),
            "kind": header.kind if header else None,
            "network": header.name if header else None,
            "package": f"{header.package} {header.package_version}" if header else None,
            "trained_by": header.tool if header else None,
            "bytes": self.bytes or None,
            "sha256": self.sha256 or None,
            "licence": self.licence,
            "training_data": self.training_data,
            "limits": self.limits,
            "card": self.card.model_dump(mode="json") if self.card else None,
        }


def look_at(source: ModelSource) -> ModelInfo:
    """Read header and card and compare the digest; a fault of any of them is `error`, nothing is raised for it."""
    if source.error:
        return ModelInfo(source, source.error)
    header = card = None
    digest, size, error = "", 0, ""
    try:
        path = model_path(source.path)
        size, digest = path.stat().st_size, file_sha256(path)
        header = read_header(path)
        card = read_checked_card(source, digest)
    except CtsegError as fault:
        error = str(fault)
    except OSError as fault:
        error = f"{fault.filename or source.path}: {fault.strerror or first_line(fault)}; check its permissions"
    return ModelInfo(source, error, header, card, digest, size)


def look_at_all(catalogue: Catalogue) -> list[ModelInfo]:
    """Every model of a catalogue, by origin and name; the broken ones, too."""
    order = {"package": 0, "plugin": 1, "user": 2, "path": 3}
    sources = [*catalogue.sources.values(), *catalogue.broken]
    return [look_at(source) for source in sorted(sources, key=lambda one: (order[one.origin], one.name))]


def checked_digest(source: ModelSource) -> str:
    """The SHA-256 of a model's weights; errors as of `checked`."""
    return checked(source)[0]


def checked(source: ModelSource) -> tuple[str, ModelCard | None]:
    """The SHA-256 of a model's weights, which is the one on its card, or in its run, where there is one; and the card.

    Raises:
        InputError: if there are no weights, or the card is missing, broken or of other weights.
    """
    digest = file_sha256(model_path(source.path))
    return digest, read_checked_card(source, digest)


def read_checked_card(source: ModelSource, digest: str) -> ModelCard | None:
    """The card of some weights; None where they need none.

    Raises:
        InputError: if it is missing, broken or of other weights.
    """
    place = source.card
    if place is None:
        _check_run(source, digest)
        return None
    if os.path.lexists(place) and not place.exists():
        raise InputError(f"{place}: a link to nothing; get the model card that it points to, or remove it")
    if not place.exists():
        raise InputError(f"{source.weights}: its model card {place.name} is missing; {source.way_out}")
    card = read_card(place)
    _compare(source, digest, card.sha256, "on its card")
    return card


def _check_run(source: ModelSource, digest: str) -> None:
    """Compare a run's weights with the digest that the training wrote beside them, or into the mark of its output."""
    if source.weights.name != RUN_WEIGHTS:
        return
    recorded = read_json_beside(source.weights.with_name(METADATA))
    found = recorded.get(RUN_DIGEST) if isinstance(recorded, dict) else None
    if isinstance(found, str) and re.fullmatch(SHA256, found):
        _compare(source, digest, found, f"in {METADATA}")
        return
    folder = source.weights.absolute().parent
    for top, name in ((folder, RUN_WEIGHTS), (folder.parent, f"{folder.name}/{RUN_WEIGHTS}")):  # the latter of a fold
        mark = read_mark(top)
        seen = mark.made.get(name, "").split(" ")[-1] if mark is not None and mark.finished else ""
        if re.fullmatch(r"[0-9a-f]{12}", seen):
            _compare(source, digest[: len(seen)], seen, f"in {MARK}")


def _compare(source: ModelSource, digest: str, recorded: str, where: str) -> None:
    if digest != recorded:
        raise InputError(
            f"{source.weights}: its SHA-256 begins {digest[:DIGITS]}, that {where} {recorded[:DIGITS]}: it was damaged "
            f"or changed; {source.way_out}"
        )
