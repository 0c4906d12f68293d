"""ONNX files, and the networks in them run by onnxruntime and OpenVINO."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ctseg.errors import InputError, first_line
from ctseg.export.network import Run, check_slices

INPUT, OUTPUT = "images", "logits"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""With which torch marks words of its errors for a terminal."""


def write_onnx(path: Path, network: nn.Module, size: int) -> None:
    """Write a network as ONNX with a free number of slices.

    Raises:
        InputError: if the network uses what ONNX does not know, or a package is missing.
    """
    needs("onnx", "export")
    needs("onnxscript", "export")
    try:
        with quiet("torch.onnx", "torch.fx", "onnxscript", "onnx_ir"):
            _export(path, network, torch.from_numpy(check_slices(size, 2)))
    except (OSError, MemoryError):
        raise  # of the disk or the machine
    except Exception as error:  # torch's and onnxscript's own, of many kinds
        reason = COLOURS.sub("", first_line(error, 200))
        if _is_missing(error):
            raise InputError(
                f"the installed ONNX packages do not fit this torch ({reason}); "
                "pip install --upgrade onnxscript onnx-ir"
            ) from None
        raise InputError(f"this network cannot be written as ONNX ({reason}); try --to monai-bundle") from None


def _export(path: Path, network: nn.Module, images: torch.Tensor) -> None:
    """Let torch write the file; where its exporter cannot, as that of 2.6 with today's onnxscript, by a trace.

    Whichever wrote it, `checked_parity` compares what it computes.
    """
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "verbose": False}
    batch = torch.export.Dim("batch", min=1, max=4096)
    try:
        torch.onnx.export(
            network, (images,), path, dynamo=True, dynamic_shapes=({0: batch},), external_data=False, **names
        )
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if _is_missing(error):
            raise
        try:
            axes = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
            torch.onnx.export(network, (images,), path, dynamo=False, dynamic_axes=axes, **names)
        except (OSError, MemoryError):
            raise
        except Exception:
            raise error from None


def _is_missing(error: BaseException | None) -> bool:
    """Whether an error comes from a package that lacks what torch asks of it."""
    return error is not None and (isinstance(error, ImportError) or _is_missing(error.__cause__ or error.__context__))


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Exporters speak of their own internals, some on stdout; what concerns the user is an error.

    Args:
        names: of loggers.
    """
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def onnx_runner(path: Path) -> Run:
    """The network of a file in onnxruntime, on the CPU.

    Raises:
        InputError: if onnxruntime is missing.
    """
    onnxruntime = needs("onnxruntime", "export")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run([OUTPUT], {INPUT: images})[0], dtype=np.float32)


def write_openvino(path: Path, onnx: Path) -> None:
    """Turn an ONNX file into OpenVINO's pair `NAME.xml` and `NAME.bin`, in float32.

    Raises:
        InputError: if OpenVINO is missing.
    """
    openvino = _openvino()
    openvino.save_model(openvino.Core().read_model(onnx), path, compress_to_fp16=False)


def openvino_runner(path: Path) -> Run:
    """The network of `NAME.xml` in OpenVINO, on the CPU in float32.

    Raises:
        InputError: if OpenVINO is missing.
    """
    compiled = _openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: np.asarray(compiled(images)[0], dtype=np.float32)


def _openvino() -> Any:
    """OpenVINO without its telemetry, which would send each import over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return needs("openvino", "openvino")


def needs(package: str, extra: str) -> Any:
    """An optional package.

    Raises:
        InputError: if it is not installed, naming the extra that brings it.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError:
        raise InputError(f"this export needs {package}, which is not installed: pip install 'ctseg[{extra}]'") from None
