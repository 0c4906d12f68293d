"""Run folders: what a training writes, and how a model is loaded from it.

`config.toml` (resolved settings), `model.safetensors` (weights, with everything needed to rebuild the network in its
header), `checkpoint.pt` (full training state), `metrics.jsonl` (one line an epoch), `samples/*.png`, `report.html`. A
run without `model.safetensors` is unfinished.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.errors import InputError, OutputExistsError
from ctseg.files import write_text, write_with
from ctseg.outputs.mark import MARK
from ctseg.settings import read_toml
from ctseg.version import __version__

if TYPE_CHECKING:
    from torch import nn

SCHEMA = "ctseg-model/1"
OWN_FILES = (
    "model.safetensors", "checkpoint.pt", "metrics.jsonl", "config.toml",
    "report.html", "curves.png", "model-card.md", "metadata.json",
)  # fmt: skip
"""What a training leaves in its folder beside `samples/`."""
RUN_FILES = (
    *OWN_FILES, "samples/epoch_*.png", "epochs/epoch_*.safetensors", "epochs/*.csv",
    "masks.npy", "folds.csv", "summary.json",
    *(f"fold_*/{name}" for name in OWN_FILES), "fold_*/samples/epoch_*.png",
)  # fmt: skip
"""All that a training may write in its folder, as `ctseg.outputs` wants it; the last two rows are `finetune`'s."""
HEADER_LIMIT = 100_000_000
"""safetensors' own bound on the header's size in bytes."""


@dataclass(frozen=True)
class ModelHeader:
    """What `model.safetensors` holds beside the weights."""

    kind: str
    """'generator' or 'segmenter'."""
    name: str
    """The plugin's registered name."""
    settings: dict[str, Any]
    """Its settings, resolved."""
    package: str
    """The distribution the plugin came from."""
    package_version: str
    input: dict[str, Any] = field(default_factory=dict)
    """`size`, `intensity` and `preprocess` settings of the CT slices the model expects."""
    training: dict[str, Any] = field(default_factory=dict)
    """Preset, seed, epochs, selection rule, slice counts: what a model card says."""
    schema: str = SCHEMA
    tool: str = f"ctseg {__version__}"


def save_model(path: Path, module: nn.Module, header: ModelHeader) -> Path:
    """Write weights and header atomically, without pickle."""
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    metadata = {"ctseg": json.dumps(asdict(header), allow_nan=False)}
    return write_with(Path(path), lambda temporary: save_file(weights, temporary, metadata=metadata))


def model_path(run: Path) -> Path:
    """`RUN` or `RUN/model.safetensors` -> the weights' path.

    Raises:
        InputError: if there is none, telling an unfinished run from a wrong path.
    """
    run = Path(run)
    path = run / "model.safetensors" if run.is_dir() else run
    if path.is_file():
        return path
    if (run / "checkpoint.pt").exists():
        raise InputError(f"{run}: this training is not finished; continue it with --resume")
    raise InputError(f"{run}: no model.safetensors here; --model takes a run folder made by ctseg")


def read_header(run: Path) -> ModelHeader:
    """The header alone; torch is not needed.

    Raises:
        InputError: if the file is missing, broken or not one of ctseg's.
    """
    path = model_path(run)
    metadata = _read_metadata(path)
    try:
        fields = json.loads(metadata["ctseg"])
    except (KeyError, json.JSONDecodeError):
        raise InputError(f"{path}: not a ctseg model (no ctseg header); use a run made by ctseg") from None
    if fields.get("schema") != SCHEMA:
        raise InputError(f"{path}: model of schema {fields.get('schema')!r}, this ctseg reads {SCHEMA!r}")
    known = set(ModelHeader.__dataclass_fields__)
    return ModelHeader(**{key: value for key, value in fields.items() if key in known})


def _read_metadata(path: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else HEADER_LIMIT + 1
        if length > min(HEADER_LIMIT, path.stat().st_size):
            raise InputError(f"{path}: not a safetensors file, or cut short; copy it again")
        try:
            return dict(json.loads(file.read(length)).get("__metadata__") or {})
        except (UnicodeDecodeError, json.JSONDecodeError):
            raise InputError(f"{path}: not a safetensors file, or cut short; copy it again") from None


def load_model(run: Path, build: Callable[[ModelHeader], nn.Module], kind: str) -> tuple[nn.Module, ModelHeader]:
    """Rebuild a network from its run alone.

    Args:
        run: run folder or weights file.
        build: makes the untrained network that a header names (the plugin registry's `build`).
        kind: 'generator' or 'segmenter'.

    Raises:
        InputError: if the run is unfinished, broken or of another kind.
        PluginError: if the plugin it needs is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, header = model_path(run), read_header(run)
    if header.kind != kind:
        other = {"generator": "synthesize", "segmenter": "segment"}.get(header.kind, "another command")
        raise InputError(f"{path}: holds a {header.kind}, expected a {kind}; it belongs to `ctseg {other}`")
    module = build(header)
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: weights do not fit {header.name!r} ({reason}); the file or plugin changed") from None
    return module.eval(), header


def start_run(folder: Path, config: Mapping[str, Any], *, overwrite: bool, resume: bool) -> bool:
    """Make a run folder with its `config.toml`; returns whether there is a checkpoint to resume from.

    Raises:
        OutputExistsError: if the folder is in use and neither `resume` nor `overwrite` is set.
        InputError: if `resume` is set and the settings differ from those the run was started with.
    """
    folder = Path(folder)
    started = (folder / "config.toml").exists()
    if resume and started:
        _check_same_config(folder / "config.toml", config)
        return (folder / "checkpoint.pt").exists()
    if folder.exists() and any(path.name != MARK for path in folder.iterdir()):
        if not overwrite:
            raise OutputExistsError(
                f"{folder}: exists already; add --resume to continue it or --overwrite to start again"
            )
        _clear_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_toml(folder / "config.toml", config)
    return False


def _clear_run(folder: Path) -> None:
    """Remove a run's own files and nothing else that a user may keep there."""
    for name in OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    for sample in (folder / "samples").glob("*.png"):
        sample.unlink()


def _check_same_config(path: Path, config: Mapping[str, Any]) -> None:
    old, new = read_toml(path), _plain(config)
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            where = f"[{key}]" if isinstance(new.get(key), dict) else key
            raise InputError(
                f"{path}: --resume with other settings ({where} differs); resume as started or use --overwrite"
            )


def _plain(value: Any) -> Any:
    """Drop None (TOML has none) and turn tuples and paths into what TOML knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def write_toml(path: Path, data: Mapping[str, Any]) -> Path:
    """Write settings as TOML, atomically."""
    import tomli_w

    return write_text(path, tomli_w.dumps(_plain(data)))


def append_metrics(run: Path, row: Mapping[str, Any]) -> None:
    """Add one line to `metrics.jsonl`."""
    with (Path(run) / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(row)) + "\n")


def read_metrics(run: Path, before_epoch: int | None = None) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a line cut short by a crash, and epochs from `before_epoch` on, are left out."""
    path = Path(run) / "metrics.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if before_epoch is None or row.get("epoch", 0) < before_epoch:
            rows.append(row)
    return rows


def rewind_metrics(run: Path, epoch: int) -> None:
    """Drop the lines from `epoch` on, so that a resumed run does not log an epoch twice."""
    rows = read_metrics(run, before_epoch=epoch)
    write_text(Path(run) / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def save_checkpoint(run: Path, state: Mapping[str, Any]) -> None:
    """Write the full training state atomically; it holds tensors and plain values only."""
    import torch

    write_with(Path(run) / "checkpoint.pt", lambda temporary: torch.save(dict(state), temporary))


def load_checkpoint(run: Path, device: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running any code from it.

    Raises:
        InputError: if it is broken.
    """
    import pickle

    import torch

    path = Path(run) / "checkpoint.pt"
    try:
        return dict(torch.load(path, map_location=device, weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise InputError(
            f"{path}: broken checkpoint ({str(error).splitlines()[0]}); start again with --overwrite"
        ) from None
