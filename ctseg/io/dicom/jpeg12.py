"""JPEG Extended of 12 bits, which pydicom leaves to a decoder under the GPL: GDCM can read it, too.

GDCM's inverse transform differs from libjpeg's by at most 1 in the stored values, as the standard allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGExtended12Bit

TS_PIXELS = 0x7FE0, 0x0010


def is_extended(dataset: Dataset) -> bool:
    """Whether a slice's pixels are compressed so."""
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    return syntax == JPEGExtended12Bit and dataset.BitsStored > 8 and dataset.get("SamplesPerPixel", 1) == 1


def decode_extended(dataset: Dataset) -> NDArray[Any]:
    """The stored values (H, W) of a slice with one frame.

    Raises:
        ValueError: if the frame cannot be decoded or is of another size.
    """
    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    data = _image(dataset, frame).GetBuffer().encode("utf-8", "surrogateescape")
    kind = "<i2" if dataset.PixelRepresentation == 1 else "<u2"
    if len(data) != 2 * dataset.Rows * dataset.Columns:
        raise ValueError("broken JPEG stream")
    return np.frombuffer(data, kind).reshape(dataset.Rows, dataset.Columns)


def _image(dataset: Dataset, frame: bytes) -> Any:
    """GDCM's image of one frame."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(*TS_PIXELS))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(dataset.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str.__str__(JPEGExtended12Bit))))
    bits = int(dataset.BitsStored)
    sign = int(dataset.PixelRepresentation)
    image.SetPixelFormat(gdcm.PixelFormat(1, int(dataset.BitsAllocated), bits, bits - 1, sign))
    return image
