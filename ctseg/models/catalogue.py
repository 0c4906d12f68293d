"""Models by name: those of the package, of plugins, and of a folder of the user's.

A name is a word; whatever has a path separator in it or ends in `.safetensors` is a path. A known name wins over a file
or folder of the same name in the working directory, so that a call means the same wherever it is made; `./NAME` is the
folder. Registered names (package, plugins) win over the user's folder.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

from ctseg.errors import InputError, UnreadableError, first_line, unknown_name
from ctseg.failures import system_failure
from ctseg.models.card_files import card_path, may_be_card

DEFAULT = "default"
"""The model that `ctseg segment` takes where none is named."""
OTHER_BLOOD = "other-blood"
"""The model of `ctseg segment --other-blood`."""
FOLDER_VARIABLE = "CTSEG_MODELS"
SUFFIX = ".safetensors"
RUN_WEIGHTS = f"model{SUFFIX}"
RUN_SIGNS = (RUN_WEIGHTS, "checkpoint.pt", "fold_1")
"""What a folder of a training holds, finished or not, or one of `finetune`."""
Origin = Literal["package", "plugin", "user", "path"]
TAKES = f"give a run folder made by ctseg, its {RUN_WEIGHTS}, or a name that `ctseg models` lists"


class Registered(Protocol):
    """What the plugin host knows of a registered model."""

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        ...

    @property
    def package(self) -> str:
        """The distribution that brings it."""
        ...

    @property
    def version(self) -> str:
        """Of the package."""
        ...

    def build(self) -> Any:
        """The path of its weights."""
        ...


@dataclass(frozen=True)
class ModelSource:
    """Where a model lies; nothing of it has been read."""

    path: Path
    """A weights file or a run folder."""
    name: str = ""
    """Empty for a model that was given by its path."""
    origin: Origin = "path"
    owner: str = ""
    """`ctseg 0.1.0`, a plugin and its version, or the user's folder."""
    error: str = ""
    """Why it cannot be used, where that is known already; one line."""

    @property
    def weights(self) -> Path:
        """The weights' file."""
        return self.path / RUN_WEIGHTS if self.path.is_dir() else self.path

    @property
    def card(self) -> Path | None:
        """The card's file; None where a model needs none and has none."""
        card = card_path(self.weights)
        if self.origin in ("package", "plugin"):
            return card
        return card if (may_be_card(card) if self.origin == "path" else os.path.lexists(card)) else None

    @property
    def way_out(self) -> str:
        """What to do where the files are damaged."""
        package = self.owner.partition(" ")[0]
        if self.origin in ("package", "plugin"):
            return f"install it again: pip install --force-reinstall --no-deps {package}"
        return "copy the run again" if self.path.is_dir() else "copy the model and its card again"


@dataclass(frozen=True)
class Catalogue:
    """All models that have a name."""

    sources: Mapping[str, ModelSource]
    broken: tuple[ModelSource, ...] = ()
    """Those whose name another one has."""
    problems: tuple[str, ...] = ()
    """What keeps a place from being looked at; one line each."""
    folder: Path | None = None
    """The user's; None where there is none."""

    def named(self, name: str) -> ModelSource:
        """A model by its name.

        Raises:
            InputError: listing the known names, the nearest first, or saying why this one cannot be used.
        """
        source = self.sources.get(name)
        if source is None:
            more = "".join(f"; {problem}" for problem in self.problems)
            raise InputError(f"{unknown_name('model', name, list(self.sources))}; {TAKES}{more}")
        if source.error:
            raise InputError(f"model {name!r} of {source.owner}: {source.error}")
        return source

    def find(self, text: str | Path, say: Callable[[str], object] = str) -> ModelSource:
        """A model by name or path; a `Path` is a path.

        Args:
            text: `default`, `runs/amd-das`, `./default`, `model.safetensors`.
            say: takes a line where the name is also a file or folder.

        Raises:
            InputError: if it is neither a known name nor a path.
        """
        here = Path(text)
        if isinstance(text, Path) or is_path(text):
            return at_path(text) or self._missing(here)
        if text in self.sources:
            self._say_passed_over(str(text), say)
            if os.path.exists(here):  # noqa: PTH110 - a name too long is no path
                say(f"note: {text!r} means the model of {self.sources[text].owner}; for the path give .{os.sep}{text}")
            return self.named(text)
        if not os.path.exists(here):  # noqa: PTH110
            _ask(here)
            return self.named(text)
        return at_path(here) or self._missing(here)

    def _say_passed_over(self, name: str, say: Callable[[str], object]) -> None:
        """Say that another model of this name is not the one that is used."""
        for other in self.broken:
            if other.name == name:
                say(
                    f"warning: model {name!r} is that of {self.sources[name].owner}; {other.path} has the same name "
                    f"and is not used: rename it, or give its path"
                )

    def _missing(self, path: Path) -> NoReturn:
        """Say that a path holds no model, and which models there are."""
        there = "not a regular file" if os.path.lexists(path) else "no such file or folder"
        missing = f"no {RUN_WEIGHTS} here" if os.path.isdir(path) else there  # noqa: PTH112
        known = ", ".join(sorted(self.sources)) or "none"
        raise InputError(f"{path}: {missing}; {TAKES} (known: {known})")

    def default(self, say: Callable[[str], object] = str) -> ModelSource:
        """The model to take where none is named.

        Args:
            say: takes a line where the user has a model of that name, which is not taken.

        Raises:
            InputError: naming the ways to one, if there is none.
        """
        if DEFAULT in self.sources:
            self._say_passed_over(DEFAULT, say)
            return self.named(DEFAULT)
        known = [name for name, source in self.sources.items() if not source.error]
        other = f"name one of {', '.join(sorted(known))}; or " if known else ""
        raise InputError(
            f"no --model given, and this ctseg has no model called {DEFAULT!r}; {other}give a run folder of "
            f"`ctseg das-train` (`ctseg demo` trains one), or put one as "
            f"{DEFAULT}{SUFFIX} in {self.folder or FOLDER_VARIABLE}"
        )


def at_path(text: str | Path) -> ModelSource | None:
    """The model at a path; None for a name, and where there is no file and no folder of a training."""
    path = Path(text)
    if not isinstance(text, Path) and not is_path(text):
        return None
    _ask(path)
    is_there = os.path.isfile(path) or any(os.path.exists(path / name) for name in RUN_SIGNS)  # noqa: PTH110, PTH113
    return ModelSource(path) if is_there else None


def _ask(path: Path) -> None:
    """Look at a path; `os.path` takes all that the system does not tell for a path that is not there.

    Raises:
        UnreadableError: if the system does not tell.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise UnreadableError(f"{path}: {system_failure(error)}") from None


def is_path(text: str) -> bool:
    """Whether a word cannot be a name."""
    separators = [sign for sign in (os.sep, os.altsep) if sign]
    return text in ("", ".", "..") or text.endswith(SUFFIX) or any(sign in text for sign in separators)


def user_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of the user's own models: `CTSEG_MODELS`, else `models` in the platform's place for ctseg's data.

    None for an account without a home folder, as `docker run --user 12345` makes one.
    """
    named = environment.get(FOLDER_VARIABLE, "").strip()
    if named:
        return Path(named)
    import platformdirs

    try:
        return Path(platformdirs.user_data_path("ctseg", appauthor=False)) / "models"
    except RuntimeError:
        return None


NO_HOME = f"this account has no home folder for models; {FOLDER_VARIABLE} may name one"


def known_models(registered: Iterable[Registered], folder: Path | None = None) -> Catalogue:
    """Look at all places; nothing is read but folders, and nothing raises: what is broken is listed as such.

    Args:
        registered: the models of the package and of plugins.
        folder: the user's; default: `user_folder()`.
    """
    folder = user_folder() if folder is None else folder
    sources = {entry.name: _of_package(entry) for entry in registered}
    broken: list[ModelSource] = []
    found, problems = ([], (NO_HOME,)) if folder is None else _in_folder(folder)
    for source in found:
        other = sources.get(source.name)
        if other is None:
            sources[source.name] = source
        else:
            reason = f"{other.owner} has a model of this name; rename {source.path.name}"
            broken.append(ModelSource(source.path, source.name, source.origin, source.owner, reason))
    return Catalogue(sources, tuple(broken), problems, folder)


def _of_package(entry: Registered) -> ModelSource:
    """A registered model; a factory may raise anything."""
    origin: Origin = "package" if entry.package == "ctseg" else "plugin"
    owner, clash = f"{entry.package} {entry.version}", getattr(entry, "clash", "")
    if clash:
        return ModelSource(Path(), entry.name, origin, owner, clash)
    try:
        return ModelSource(Path(entry.build()), entry.name, origin, owner)
    except Exception as error:
        reason = f"the plugin cannot say where it is ({first_line(error)}); ask its authors"
        return ModelSource(Path(), entry.name, origin, owner, reason)


def _in_folder(folder: Path) -> tuple[list[ModelSource], tuple[str, ...]]:
    """`NAME.safetensors` files and run folders `NAME`; anything else, and hidden files, are no models."""
    named = bool(os.environ.get(FOLDER_VARIABLE, "").strip())
    try:
        items = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return [], (f"{FOLDER_VARIABLE}={folder}: no such folder",) if named else ()
    except OSError as error:
        return [], (f"{folder}: cannot be listed ({error.strerror}); check its permissions",)
    named_paths = {path: _name_of(path) for path in items}
    found = [(path, name) for path, name in named_paths.items() if name]
    return [ModelSource(path, name, "user", str(folder), _no_name(name)) for path, name in found], ()


def _no_name(name: str) -> str:
    """Why a model cannot be called so; empty where it can.

    `--model` takes some words for paths, and the name goes into DICOM, where a backslash parts two values and control
    characters are forbidden.
    """
    if not name.isprintable() or "\\" in name:
        return "its name has a backslash or what is no character of a text; rename it"
    return f"its name ends in {SUFFIX}, as those of paths do; rename it" if is_path(name) else ""


def _name_of(path: Path) -> str:
    """The name of a model in a folder; empty for what is none."""
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where it may not look
        found = any(os.path.exists(path / name) for name in RUN_SIGNS)  # noqa: PTH110
        return path.name if found else ""
    return path.stem if path.suffix == SUFFIX else ""


def register_folder(register: Callable[..., None], folder: Path) -> None:
    """Register every `NAME.safetensors` of a folder that ships with a package; the card `NAME.json` lies beside it."""
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        register(
            path.stem,
            _Weights(path),
            summary=f"trained weights; ctseg models show {path.stem}",
            reference="its model card",
        )


@dataclass(frozen=True)
class _Weights:
    """A factory that gives a path."""

    path: Path

    def __call__(self) -> Path:
        return self.path
