"""Labelled MR slices become labelled pseudo-CT slices, or HU volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from ctseg.errors import InputError
from ctseg.io.slice_writer import SliceWriter
from ctseg.io.slices import SliceSet, brain_hu_of
from ctseg.networks.intensity import checked_numbers, checked_shape, to_images, to_uint8
from ctseg.plugins.called import name_of
from ctseg.progress import ProgressCallback
from ctseg.runs import ModelHeader

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def translate(
    generator: nn.Module,
    source: SliceSet,
    folder: Path,
    *,
    header: ModelHeader,
    fabric: Fabric,
    batch_size: int = 16,
    progress: ProgressCallback | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> None:
    """Write the pseudo-CT of every source slice into `folder` as a slice set of domain 'ct'.

    Slice names, splits and masks are the source's, so pairs made for the MR slices apply. `dataset.json` says
    `"pseudo": true` and carries the intensity map of the CT the generator was trained on. Pixels outside the source's
    brain are 0, as in real CT slices, which are skull-stripped to exactly 0.

    Args:
        generator: trained.
        source: MR slices, labelled or not.
        folder: an empty folder, of `ctseg.files.new_folder`.
        header: of the generator's model file.
        fabric: device and precision.
        batch_size: slices at a time.
        progress: called with (slices done, slices, note).
        inputs: digests of source and model, for `dataset.json`.

    Raises:
        InputError: if the model's header does not say what its CT slices were.
    """
    intensity = ct_intensity(header)
    writer = SliceWriter(folder, "ct", source.size, labelled=source.masks is not None)
    for rows, images in translated(generator, source, fabric=fabric, batch_size=batch_size, progress=progress):
        masks = None if source.masks is None else source.masks[rows]
        writer.add(images, masks, source.table.iloc[rows])
    settings = {"generator": header.name, **header.settings}
    writer.close(
        intensity=intensity, settings=settings, extra={"pseudo": True, **({"inputs": dict(inputs)} if inputs else {})}
    )


def translated(
    generator: nn.Module,
    source: SliceSet,
    *,
    fabric: Fabric,
    batch_size: int = 16,
    progress: ProgressCallback | None = None,
) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """(rows, pseudo-CT (B, H, W) uint8) of all source slices in order, 0 outside the brain."""
    generator.to(fabric.device).eval()
    for start in range(0, len(source), batch_size):
        rows = slice(start, min(start + batch_size, len(source)))
        images = source.images[rows]
        with torch.no_grad(), fabric.autocast():
            given = to_images(images, fabric.device)
            name = f"generator {name_of(generator)}"
            pseudo_ct = checked_shape(cast(Any, generator).to_target(given), given, name).float()
        checked_numbers(pseudo_ct.cpu().numpy(), type(generator).__name__)
        made = to_uint8(pseudo_ct)
        yield rows, np.where(brain_of(images), made, 0).astype(np.uint8)
        if progress is not None:
            progress(rows.stop, len(source), "")


def brain_of(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N, H, W) skull-stripped slices -> their brain: what is not 0, with enclosed holes (dark ventricles) filled."""
    return np.stack([ndimage.binary_fill_holes(image > 0) for image in images])


def ct_intensity(header: ModelHeader) -> Mapping[str, Any]:
    """What the CT slices of a generator's training were: grey = a * HU + b, with `brain_hu` where brains were moved.

    Raises:
        InputError: if the header does not say it.
    """
    intensity = header.input.get("intensity")
    known: Mapping[str, Any] = intensity if isinstance(intensity, Mapping) else {}
    if not known.get("a") or not all(isinstance(known.get(key), int | float) for key in ("a", "b")):
        raise InputError(f"model {header.name!r}: its header does not say what its CT slices were; train it again")
    brain = brain_hu_of(header.input.get("preprocess") or {})
    return known if brain is None else {**known, "brain_hu": brain}
