"""Checkpoints: the full state of a training, written atomically and read without running code from it."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import regular, write_with

if TYPE_CHECKING:
    from torch import nn


def way_out(run: Path) -> str:
    """What a person can do after a training was cut off."""
    if (Path(run) / "checkpoint.pt").exists():
        return f"{Path(run) / 'checkpoint.pt'} is the last checkpoint, --resume goes on from it"
    return f"{run} has no checkpoint yet, --resume starts again"


def save_checkpoint(run: Path, state: Mapping[str, Any]) -> None:
    """Write the full training state atomically; it holds tensors and plain values only.

    Raises:
        OSError: if the disk refuses it; the last checkpoint stays as it was.
    """
    import torch

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            keeper: Any = _KeepsError(file)
            try:
                torch.save(dict(state), keeper)
            except RuntimeError:
                if keeper.error is not None:  # torch says no more than that writing failed
                    raise keeper.error from None
                raise

    path = Path(run) / "checkpoint.pt"
    try:
        write_with(path, write)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from None


def not_finite(module: nn.Module) -> str:
    """The first parameter or buffer of a module that is not finite; empty where all are."""
    from torch import Tensor

    items = module.state_dict().items()
    return next((key for key, value in items if isinstance(value, Tensor) and not value.isfinite().all()), "")


class _KeepsError:
    """A binary file that remembers the error of a failed write."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write to the file.

        Raises:
            OSError: of the file, which is remembered.
        """
        try:
            return int(self.file.write(data))
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Flush the file."""
        self.file.flush()


def not_swelling(path: Path) -> Path:
    """The path of a regular file that torch saved: it packs nothing, so that no file holds more than its bytes.

    Raises:
        InputError: if it would swell: torch unpacks what is packed, a thousand times its size.
        OSError: if the system does not give it.
        zipfile.BadZipFile, NotImplementedError, ValueError: if its archive is broken.
    """
    with regular(path).open("rb") as file:
        is_zip = file.read(4) == b"PK\3\4"
    held = sum(info.file_size for info in zipfile.ZipFile(path).infolist()) if is_zip else 0
    if held > path.stat().st_size:
        raise InputError(f"{path}: would unpack to {held >> 20} MiB, as no file that torch saves; is it the right one?")
    return path


def load_checkpoint(run: Path, device: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running any code from it.

    Raises:
        InputError: if it is broken.
    """
    import torch

    path = Path(run) / "checkpoint.pt"
    try:
        found = torch.load(not_swelling(path), map_location=device, weights_only=True)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a broken archive reaches torch's and pickle's parsers, which raise what they like
        broken = f"broken checkpoint ({first_line(error, None)}); start again with --overwrite"
        raise InputError(f"{path}: {system_failure(error) or broken}") from None
    if not isinstance(found, dict) or not isinstance(found.get("epoch", 0), int):
        raise InputError(f"{path}: broken checkpoint (no training state in it); start again with --overwrite")
    return found
