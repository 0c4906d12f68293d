"""Checks of trained models that ship with a package: the weights, the card, and that both belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ctseg.conformance.subject import Subject, require
from ctseg.models import ModelInfo, ModelSource, look_at
from ctseg.models.card import NOT_STATED
from ctseg.models.catalogue import SUFFIX, is_path


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

    header = _info(subject).header
    require(header is not None and header.kind == "segmenter", "the header names another kind of network")
    load_for_segment([_source(subject)], subject.device, subject.registry)


def segments_slices(subject: Subject, _folder: Path) -> None:
    """Probabilities of slices are finite, in [0, 1], and the same a second time."""
    from ctseg.api import load_for_segment
    from ctseg.inference.predict import predict_slices
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import resolve

    [group], _ = load_for_segment([_source(subject)], subject.device, subject.registry)
    [model] = group.models
    size = group.preprocessing.size
    images = np.random.default_rng(0).integers(1, 256, (2, size, size)).astype(np.uint8)
    first, second = (predict_slices(images, model, resolve(SegmentSettings)) for _ in range(2))
    require(first.shape == images.shape, f"gives {first.shape} for slices {images.shape}")
    require(np.isfinite(first).all() and first.min() >= 0 and first.max() <= 1, "gives no probabilities")
    require(np.array_equal(first, second), "gives other probabilities the second time")
