"""Run folders: what a training writes, and how a model is loaded from it.

`config.toml` (resolved settings), `model.safetensors` (weights, with everything needed to rebuild the network in its
header), `checkpoint.pt` (full training state), `metrics.jsonl` (one line an epoch), `samples/*.png`, `report.html`. A
run without `model.safetensors` is unfinished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.checkpoints import not_finite
from ctseg.errors import InputError, OutputExistsError, UnreadableError
from ctseg.failures import system_failure
from ctseg.files import MOST_JSON, bounded, read_toml, write_text, write_with, writing_to
from ctseg.harmless import one_line, toml_visible
from ctseg.outputs.mark import MARK
from ctseg.version import __version__
from ctseg.weights import MOST_WEIGHTS, read_metadata, read_weights
from ctseg.wording import first_of

if TYPE_CHECKING:
    from torch import nn

SCHEMA = "ctseg-model/1"
OWN_FILES = (
    "model.safetensors", "checkpoint.pt", "metrics.jsonl", "config.toml",
    "report.html", "curves.png", "model-card.md", "metadata.json",
)  # fmt: skip
"""What a training leaves in its folder beside `samples/`."""
RUN_FILES = (
    *OWN_FILES, "samples/epoch_[0-9]*.png", "epochs/epoch_[0-9]*.safetensors",
    "masks.npy", "folds.csv", "summary.json",
    *(f"fold_[0-9]*/{name}" for name in OWN_FILES), "fold_[0-9]*/samples/epoch_[0-9]*.png",
)  # fmt: skip
"""All that a training may write in its folder, as `ctseg.outputs` wants it; the last two rows are `finetune`'s."""
BELONGS = {"generator": "synthesize", "segmenter": "segment", "kinds-segmenter": "segment --other-blood"}
"""Kind of a model -> the command that runs it."""
MAX_WORDS = 5
"""At most so many differences are named in one line."""


@dataclass(frozen=True)
class ModelHeader:
    """What `model.safetensors` holds beside the weights."""

    kind: str
    """'generator', 'segmenter' or 'kinds-segmenter'."""
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
        InputError: if there is none, telling an unfinished run from a wrong path, or if it is larger than weights are.
    """
    run = Path(run)
    path = run / "model.safetensors" if run.is_dir() else run
    if path.is_file():
        return bounded(path, MOST_WEIGHTS)
    if (run / "checkpoint.pt").exists():
        raise InputError(f"{run}: this training is not finished; continue it with --resume")
    if (run / "fold_1").is_dir():
        raise InputError(f"{run}: holds one network a fold; give one of them, as {run / 'fold_1'}")
    there = "no model.safetensors here" if run.is_dir() else "not a regular file"
    missing = there if run.exists() else "no such file or folder"
    raise InputError(f"{run}: {missing}; give a run folder made by ctseg, or a name that `ctseg models` lists")


def read_header(run: Path) -> ModelHeader:
    """The header alone; torch is not needed.

    Raises:
        InputError: if the file is missing, broken or not one of ctseg's.
    """
    path = model_path(run)
    metadata = read_metadata(path)
    try:
        fields = json.loads(metadata["ctseg"])
    except (KeyError, TypeError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise InputError(f"{path}: not a ctseg model (no ctseg header); use a run made by ctseg")
    if fields.get("schema") != SCHEMA:
        raise InputError(_other_schema(path, fields))
    wrong = _wrong_field(fields)
    if wrong:
        raise InputError(f"{path}: the header's {wrong} is missing or broken; copy the run again")
    known = set(ModelHeader.__dataclass_fields__)
    return ModelHeader(**{key: value for key, value in fields.items() if key in known})


def _other_schema(path: Path, fields: Mapping[str, Any]) -> str:
    """One line about a model of another version: who made it, and what to do."""
    found, tool = (" ".join(str(fields.get(key)).split())[:40] for key in ("schema", "tool"))
    number, own = found.rpartition("/")[2], SCHEMA.rpartition("/")[2]
    newer = number.isdecimal() and int(number) > int(own)
    way_out = "pip install --upgrade ctseg" if newer else "train it again, or take a model of this version"
    return f"{path}: model of schema {found!r} made by {tool}, this ctseg {__version__} reads {SCHEMA!r}; {way_out}"


def _wrong_field(fields: Mapping[str, Any]) -> str:
    """The first field of a model's header that is missing or of another type; empty where all are well."""
    texts, tables = ("kind", "name", "package", "package_version"), ("settings", "input", "training")
    wrong = [key for key in texts if not isinstance(fields.get(key), str)]
    wrong += [key for key in tables if not isinstance(fields.get(key, {}), dict)]
    wrong = wrong or ([] if "settings" in fields else ["settings"])
    return (wrong or [*_wrong_tables(fields.get("input", {}), fields.get("training", {})), ""])[0]


def _wrong_tables(made: Mapping[str, Any], training: Mapping[str, Any]) -> list[str]:
    """The tables in a header's `input` and `training` that are of another type; each may be missing or empty."""
    parts = {f"input.{name}": made.get(name) for name in ("intensity", "preprocess", "profile", "brain_extractor")}
    parts |= {f"training.{name}": training.get(name) for name in ("scores", "data")}
    data = training.get("data")
    parts |= {f"training.data.{name}": value for name, value in (data if isinstance(data, dict) else {}).items()}
    return [one_line(name)[:60] for name, value in parts.items() if value is not None and not isinstance(value, dict)]


def load_model(
    run: Path,
    build: Callable[[ModelHeader], nn.Module],
    kind: str,
    version_of: Callable[[ModelHeader], str] | None = None,
) -> tuple[nn.Module, ModelHeader]:
    """Rebuild a network from its run alone.

    Args:
        run: run folder or weights file.
        build: makes the untrained network that a header names (the plugin registry's `build`).
        kind: a key of `BELONGS`.
        version_of: of the package that `build` takes the network from, for a message (`Registry.version_of`).

    Raises:
        InputError: if the run is unfinished, broken or of another kind, or the weights do not fit the network.
        PluginError: if the plugin it needs is not installed.
    """
    import torch
    from safetensors import SafetensorError

    path, header = model_path(run), read_header(run)
    if header.kind != kind:
        other = BELONGS.get(header.kind, "another command")
        raise InputError(f"{path}: holds a {header.kind}, expected a {kind}; it belongs to `ctseg {other}`")
    module = build(header)
    try:
        module.load_state_dict(read_weights(path))
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        refused = system_failure(error)
        if refused:
            raise UnreadableError(f"{path}: {refused}") from None
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        here = "" if version_of is None else version_of(header)
        raise InputError(f"{path}: weights do not fit {header.name!r} ({reason}); {_misfit(header, here)}") from None
    wrong = not_finite(module)
    if wrong:
        raise InputError(
            f"{path}: weights {wrong!r} are not finite; the file is damaged: copy it again, or train it again"
        )
    if torch.get_default_dtype() != torch.float32:  # of a program that calls ctseg; weights and slices are float32
        module.float()
    return module.eval(), header


def _misfit(header: ModelHeader, here: str) -> str:
    """Why weights do not fit the network of their header, and the way out.

    Args:
        header: theirs.
        here: the version of its package that is installed, where it is known.
    """
    package, version = header.package, header.package_version
    if here and here != version:
        return one_line(f"made with {package} {version}, {here} is installed: pip install {package}=={version}")
    return one_line(
        f"the file is damaged, or was made with another version than {package} {version}, which it names: copy it "
        "again, or train it again"
    )


def start_run(folder: Path, config: Mapping[str, Any], *, overwrite: bool, resume: bool) -> bool:
    """Make a run folder with its `config.toml`; returns whether there is a checkpoint to resume from.

    Raises:
        OutputExistsError: if the folder is in use and neither `resume` nor `overwrite` is set.
        InputError: if `resume` is set and the settings differ from those the run was started with.
    """
    folder = Path(folder)
    started = (folder / "config.toml").exists()
    if resume and started:
        check_resume(folder, config)
        return (folder / "checkpoint.pt").exists()
    if folder.exists() and any(path.name != MARK for path in folder.iterdir()):
        if not overwrite:
            raise OutputExistsError(
                f"{folder}: exists already; add --resume to continue it or --overwrite to start again"
            )
        if not started and not (folder / MARK).exists():
            raise OutputExistsError(f"{folder}: holds files and no run of ctseg's; choose another run folder")
        _clear_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_toml(folder / "config.toml", config)
    return False


def _clear_run(folder: Path) -> None:
    """Remove a run's own files and nothing else that a user may keep there."""
    for name in OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    for sample in (folder / "samples").glob("epoch_[0-9]*.png"):
        sample.unlink()


def check_resume(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was started with other settings or made from other inputs.

    Raises:
        InputError: one line naming what differs; nothing where the run has not been started.
    """
    path = Path(folder) / "config.toml"
    if not path.exists():
        return
    old, new = read_toml(path), _plain(config)
    if "inputs" in new and not isinstance(old.get("inputs"), dict):
        raise InputError(
            f"{path}: --resume of a run that does not say what it was made from (begun by {old.get('tool', 'ctseg')}); "
            "finish it with that version, give another -o, or start again with --overwrite"
        )
    if differences(old, new):
        raise InputError(f"{path}: --resume with other {_what_differs(old, new)}; resume as started or use --overwrite")


def _what_differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """`settings (seed, epochs differ)`; inputs alone are called so, and what follows from them is not named again."""
    differ = differences(old, new)
    inputs = [key for key in differ if key.startswith("inputs.")]
    others = [key for key in differ if key not in inputs and not (inputs and key.startswith("data."))]
    words = [*others, *(_input_words(key, old, new) for key in inputs)]
    return f"{'settings' if others else 'inputs'} ({_named(words)})"


def _named(words: Sequence[str]) -> str:
    """`a, b differ`, with at most `MAX_WORDS` of the words."""
    return f"{first_of(words, MAX_WORDS)} {'differs' if len(words) == 1 else 'differ'}"


def _input_words(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """`inputs.source.images` -> `source images.npy`; values that are no digest with what they were and are."""
    parts = key.split(".")[1:]
    if parts[0] in ("precision", "devices"):
        had, has = (table.get("inputs", {}).get(parts[0], "not recorded") for table in (old, new))
        return f"--{parts[0]} {had}, now {has},"
    ends = {"images": "images.npy", "masks": "masks.npy", "slices": "slices.csv", "dataset": "dataset.json"}
    return " ".join([*parts[:-1], ends.get(parts[-1], f"--{parts[-1]}" if len(parts) == 1 else parts[-1])])


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Dotted names of the values that differ between two nested tables, in order."""
    first, second = _flat(old), _flat(new)
    return [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]


def _flat(table: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{head}{key}.")
        else:
            flat[f"{head}{key}"] = value
    return flat


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

    return write_text(path, toml_visible(tomli_w.dumps(_plain(data))))


def append_metrics(run: Path, row: Mapping[str, Any]) -> None:
    """Add one line to `metrics.jsonl`."""
    path = Path(run) / "metrics.jsonl"
    with writing_to(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(row)) + "\n")


def read_metrics(run: Path, before_epoch: int | None = None) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a line cut short by a crash, and epochs from `before_epoch` on, are left out."""
    path = Path(run) / "metrics.jsonl"
    rows = []
    text = bounded(path, MOST_JSON).read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        epoch = row.get("epoch") if isinstance(row, dict) else None
        if isinstance(epoch, int | float) and (before_epoch is None or epoch < before_epoch):
            rows.append(row)
    return rows


def rewind_metrics(run: Path, epoch: int) -> None:
    """Drop the lines from `epoch` on, so that a resumed run does not log an epoch twice."""
    rows = read_metrics(run, before_epoch=epoch)
    write_text(Path(run) / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
