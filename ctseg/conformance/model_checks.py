"""Checks of trained models that ship with a package: the weights, the card, and that both belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.conformance.subject import Subject, require
from ctseg.models import ModelInfo, ModelSource, look_at
from ctseg.models.card import NOT_STATED
from ctseg.models.catalogue import SUFFIX, is_path

KINDS = "kinds-segmenter"
"""What a header calls the network for other blood."""


def _source(subject: Subject) -> ModelSource:
    entry = subject.entry
    given: Any = entry.build(subject.settings)
    require(isinstance(given, str | Path), f"gives a {type(given).__name__}, expected the path of the weights")
    return ModelSource(Path(given), entry.name, "plugin", f"{entry.package} {entry.version}")


def _info(subject: Subject) -> ModelInfo:
    info = look_at(_source(subject))
    require(not info.error, info.error)
    return info


def gives_weights(subject: Subject, _folder: Path) -> None:
    """The factory gives the path of a file NAME.safetensors, and its name is no path."""
    source = _source(subject)
    require(not is_path(subject.name), f"{subject.name!r} would be read as a path; take a word")
    require(source.path.is_file(), f"{source.path}: no such file")
    require(source.path.suffix == SUFFIX, f"{source.path.name}: expected a name that ends in {SUFFIX}")


def has_a_card(subject: Subject, _folder: Path) -> None:
    """The card NAME.json lies beside the weights, says all that it has to, and names their digest."""
    card = _info(subject).card
    require(card is not None, "has no card")
    require(NOT_STATED not in str(card), f"the card says {NOT_STATED!r} where a person has to fill it in")


def holds_a_segmenter(subject: Subject, _folder: Path) -> None:
    """The weights are a segmenter's whose plugin is installed, and their header says which CT slices it takes."""
    from ctseg.api import load_for_segment
    from ctseg.inference.models import load_other_blood

    header = _info(subject).header
    if header is not None and header.kind == KINDS:
        load_other_blood(_source(subject), subject.device)
        return
    require(header is not None and header.kind == "segmenter", "the header names another kind of network")
    load_for_segment([_source(subject)], subject.device, subject.registry)


def segments_slices(subject: Subject, _folder: Path) -> None:
    """Probabilities of slices are finite, in [0, 1], and the same a second time."""
    size, probabilities = _probabilities_of(subject)
    images = np.random.default_rng(0).integers(1, 256, (2, size, size)).astype(np.uint8)
    first, second = probabilities(images), probabilities(images)
    require(first.shape == images.shape, f"gives {first.shape} for slices {images.shape}")
    require(np.isfinite(first).all() and first.min() >= 0 and first.max() <= 1, "gives no probabilities")
    require(np.array_equal(first, second), "gives other probabilities the second time")


def _probabilities_of(subject: Subject) -> tuple[int, Callable[[NDArray[np.uint8]], NDArray[np.float32]]]:
    """The size of its slices, and what makes probabilities of them; for other blood those of all kinds together."""
    from ctseg.api import load_for_segment
    from ctseg.inference.models import load_other_blood
    from ctseg.inference.other_blood import kind_shares
    from ctseg.inference.predict import predict_slices
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import resolve

    settings = resolve(SegmentSettings)
    header = _info(subject).header
    if header is not None and header.kind == KINDS:
        other = load_other_blood(_source(subject), subject.device)
        return other.preprocessing.size, lambda images: np.clip(
            kind_shares(images, np.arange(len(images), dtype=np.float64) * 5, other, settings).sum(axis=1), 0, 1
        )
    [group], _ = load_for_segment([_source(subject)], subject.device, subject.registry)
    [model] = group.models
    return group.preprocessing.size, lambda images: predict_slices(images, model, settings)
