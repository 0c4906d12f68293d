"""First weights of a training that are not random: another run's (`--from`) or published ones (`--pretrained`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.checkpoints import not_swelling
from ctseg.cli import common
from ctseg.errors import InputError, SettingError, first_line
from ctseg.failures import system_failure
from ctseg.files import regular

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor

    from ctseg.io.slices import SliceSet
    from ctseg.plugins.host import Entry
    from ctseg.runs import ModelHeader

MADE_BY = {"generator": "synth-train", "segmenter": "das-train or finetune"}
FLAGS = {"generator": "--generator", "segmenter": "--segmenter"}
RECORDED = ("from", "from_command", "from_version", "ct_labels")
"""Keys of `config.toml` and of the model's header that say where the first weights came from."""


@dataclass(frozen=True)
class Start:
    """Where the first weights come from."""

    path: Path
    record: dict[str, Any] = field(default_factory=dict)
    """`from`: 'weights' or 'pretrained' and a digest, no path; `from_command`; `ct_labels` where some were learnt;
    `from_version` where another version of the network's plugin made them than is installed."""
    pretrained: bool = False


def read_start(run: Path, kind: str) -> tuple[Start, ModelHeader]:
    """Look at a run to start from, without torch.

    Args:
        run: a run folder or its weights.
        kind: 'generator' or 'segmenter', what the training makes.

    Raises:
        InputError: if it is unfinished, broken, or holds the other kind.
        PluginError: if the network's plugin is not installed.
    """
    from ctseg.io.input_digests import file_digest
    from ctseg.plugins.needed import Needed, needed_entry, other_version
    from ctseg.runs import model_path, read_header

    header = read_header(run)
    if header.kind != kind:
        raise InputError(
            f"--from {run}: holds a {header.kind} of `ctseg {header.training.get('command')}`, this needs a {kind}; "
            f"give a run of {MADE_BY[kind]}"
        )
    path, training = model_path(run), header.training
    record = {"from": f"weights {file_digest(path)}", "from_command": training.get("command", "unknown")}
    if training.get("supervised") or training.get("ct_labels"):
        record["ct_labels"] = True
    made = Needed.of_header(header)
    entry = needed_entry(common.registry(), made, f"--from {run}: this model")
    if other_version(entry, made):
        record["from_version"] = f"{made.package} {made.version}"
    return Start(path, record), header


def start_of(run: Path, entry: Entry, values: Mapping[str, Any]) -> Start:
    """The start of a training whose network is already settled, which must be the run's.

    Args:
        run: a run folder or its weights.
        entry: the plugin that the training uses.
        values: its settings, resolved.

    Raises:
        InputError, PluginError: as `read_start`.
        SettingError: naming both networks and what to add, if they differ.
    """
    from ctseg.plugins.needed import Needed, naming_versions, other_version

    start, header = read_start(run, entry.kind)
    if header.name != entry.name:
        raise SettingError(
            f"--from {run}: holds {entry.kind} {header.name!r}, this training makes {entry.name!r}; add "
            f"{FLAGS[entry.kind]} {header.name}"
        )
    made = Needed.of_header(header)
    with naming_versions(entry, made):
        theirs = entry.resolve(header.settings, set_as="")
    other = [key for key in sorted({*theirs, *values}) if theirs.get(key) != values.get(key)]
    if other:
        had, asked = (", ".join(f"{key}={made.get(key)}" for key in other) for made in (theirs, values))
        flags = " ".join(f"--set {entry.kind}_settings.{key}={theirs.get(key)}" for key in other)
        raise SettingError(
            f"--from {run}: holds {entry.name!r} with {had}, this training makes it with {asked}; add {flags}"
        )
    if differs := other_version(entry, made):
        common.warn(f"--from {run}: {differs}; the weights may mean something else to it")
    return start


def read_pretrained(path: Path) -> Start:
    """Published weights in a file; whether the network can take them is asked when it is there.

    Raises:
        InputError: if there is no such file.
    """
    from ctseg.io.input_digests import file_digest

    try:
        regular(path)
    except FileNotFoundError:
        missing = "no such file; give the published state dict (.safetensors or .pth)"
        raise InputError(f"--pretrained {path}: {missing}") from None
    return Start(path, {"from": f"pretrained {path.name} {file_digest(path)}"}, pretrained=True)


def build(entry: Entry, values: Mapping[str, Any], start: Start | None) -> Any:
    """The network to train, in train mode: with first weights of its own, or those of `start`.

    Raises:
        InputError: if the weights do not fit.
        SettingError: if the network takes no published weights.
    """
    if start is None:
        return entry.build(values)
    if start.pretrained:
        return _with_pretrained(entry, values, start.path)
    from ctseg.runs import load_model

    registry = common.registry()
    return load_model(start.path, registry.build_from_header, entry.kind, registry.version_of)[0].train()


def tried(
    entry: Entry, values: Mapping[str, Any], start: Start | None, slices: SliceSet, fabric: Fabric, settings: Any
) -> Any:
    """As `build`; one of another package is tried on two slices before.

    Raises:
        PluginError: if the plugin fails there.
    """
    from ctseg.training.trial import try_network

    try_network(entry, lambda: build(entry, values, start), slices, fabric, settings)
    return build(entry, values, start)


def recorded(run: Path) -> dict[str, Any]:
    """What a started run says of its first weights."""
    from ctseg.files import read_toml

    known = read_toml(run / "config.toml")
    return {key: known[key] for key in RECORDED if key in known}


def _with_pretrained(entry: Entry, values: Mapping[str, Any], path: Path) -> Any:
    module = entry.build(values)
    load = getattr(module, "load_pretrained", None)
    if not callable(load):
        raise SettingError(f"--pretrained {path}: {entry.kind} {entry.name!r} takes no published weights; leave it out")
    try:
        load(_state_dict(path))
    except ValueError as error:
        made = ", ".join(f"{key}={value}" for key, value in values.items())
        raise InputError(
            f"--pretrained {path}: {error}; {entry.name!r} has {made} here, --set {entry.kind}_settings.KEY=VALUE "
            "changes that"
        ) from None
    return module


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name, without running any code from the file.

    Raises:
        InputError: if it is neither safetensors nor a state dict that torch saved.
    """
    import pickle
    import zipfile

    import torch
    from safetensors import SafetensorError

    from ctseg.weights import read_weights

    is_safe = path.suffix == ".safetensors"
    try:
        file = regular(path)
        found = read_weights(file) if is_safe else torch.load(not_swelling(file), "cpu", weights_only=True)
    except (  # NotImplementedError of a zip is a RuntimeError
        SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OSError,
    ) as error:  # fmt: skip
        broken = f"not a readable state dict ({first_line(error, None)}); download it again"
        raise InputError(f"--pretrained {path}: {system_failure(error) or broken}") from None
    if not isinstance(found, Mapping) or not all(torch.is_tensor(value) for value in found.values()):
        raise InputError(f"--pretrained {path}: holds no state dict; give the published weights alone")
    return dict(found)
