"""What killed runs leave beside an output; the next run names it, and removes or restores it.

`.partial-NAME-xxxxxxxx` is an unfinished folder, `.partial-xxxxxxxx-NAME` an unfinished file, and
`.replaced-NAME-xxxxxxxx` the earlier output that is being replaced. What a living process uses is locked and stays.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from ctseg.errors import InputError
from ctseg.files import sync
from ctseg.locks import Busy, Unknown, clean_lock, locked
from ctseg.outputs.changed import changed, gone, keep
from ctseg.outputs.mark import MARK, TEMPORARY, entries, file_mark, foreign, owned, read_file_mark, read_mark
from ctseg.temporary_names import temporary_name
from ctseg.wording import first_of

Say = Callable[[str], object]
PARTIAL, ASIDE, SHARE = ".partial-", ".replaced-", ".ctseg-share-"


def share_folder(path: Path) -> Path:
    """Where calls that make the output `path` (links resolved) together meet, see `ctseg.outputs.sharing`."""
    return path.with_name(f"{SHARE}{temporary_name(path.name)}")


def filled(folder: Path) -> bool:
    """Whether a folder holds anything but a mark, or one that is just being written."""
    return folder.is_dir() and any(not _is_mark(path.name) for path in folder.iterdir())


def _is_mark(name: str) -> bool:
    unfinished = TEMPORARY.fullmatch(name)
    return name == MARK or (unfinished is not None and unfinished["name"] == MARK)


def leftovers(path: Path, prefix: str) -> list[Path]:
    """Folders `PREFIXname-xxxxxxxx` beside `path` that are empty or carry ctseg's mark, the latest first."""
    named = re.compile(re.escape(f"{prefix}{temporary_name(path.name)}-") + "[a-z0-9_]{8}")
    if not path.parent.is_dir():
        return []
    beside = [item for item in path.parent.iterdir() if named.fullmatch(item.name)]
    ours = [item for item in beside if item.is_dir() and not item.is_symlink() and _ours(item)]
    return sorted(ours, key=lambda item: (item.stat().st_ctime_ns, item.name), reverse=True)


def _ours(folder: Path) -> bool:
    """Whether a folder carries a mark, or nothing but one that a killed run had begun to write."""
    return read_mark(folder) is not None or not filled(folder)


def recover(path: Path, say: Say) -> None:
    """Clean up after killed runs that wrote the folder `path`; put back an earlier output that nothing replaced.

    Args:
        path: the output with links resolved.
        say: takes a line for people about each leftover.
    """
    for folder in leftovers(path, PARTIAL):
        if _free(folder, partial(remove_whole, folder), say):
            say(f"removed {folder}: a killed run left it unfinished")
    for folder in leftovers(path, ASIDE):
        _recover_aside(folder, path, say)
    clean_files(path, say)
    clean_lock(path)


def _recover_aside(folder: Path, path: Path, say: Say) -> None:
    mark = read_mark(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        if _free(folder, partial(put_back, folder, path), say):
            say(f"restored {path} from {folder.name}: a killed run had put it aside")
    elif mark is not None and mark.finished:
        if _free(folder, partial(discard, folder, path, say), say):
            say(f"removed {folder}: the earlier output, which {path} has replaced")
    else:
        say(f"{folder}: the earlier output, kept until {path} is finished")


def clean_files(path: Path, say: Say) -> None:
    """Remove unfinished files of killed runs: below a folder that carries ctseg's mark, or beside a file `path`."""
    for file in _unfinished(path):
        if _free(file, file.unlink, say):
            say(f"removed {file}: a killed run left it unfinished")


def clean_some_files(folder: Path, files: Collection[str], say: Say) -> None:
    """`clean_files` of the named files below a folder alone; others may be at work on the rest of it.

    Args:
        folder: of an output.
        files: names below it.
        say: takes a line about each.
    """
    names: dict[Path, set[str]] = {}
    for file in files:
        names.setdefault((folder / file).parent, set()).add(temporary_name(Path(file).name))
    for place, wanted in names.items():
        found = ((item, TEMPORARY.fullmatch(item.name)) for item in (place.iterdir() if place.is_dir() else ()))
        for item in [item for item, match in found if match and match["name"] in wanted]:
            if _free(item, item.unlink, say):
                say(f"removed {item}: a killed run left it unfinished")


def _unfinished(path: Path) -> list[Path]:
    if path.is_dir():
        return _unfinished_below(path) if _ours(path) else []
    return _unfinished_beside(path) if path.parent.is_dir() else []


def _unfinished_below(folder: Path) -> list[Path]:
    return [Path(top) / name for top, _, names in os.walk(folder) for name in names if TEMPORARY.fullmatch(name)]


def _unfinished_beside(path: Path) -> list[Path]:
    names = {temporary_name(file.name) for file in (path, file_mark(path))}
    found = ((item, TEMPORARY.fullmatch(item.name)) for item in path.parent.iterdir())
    return [item for item, match in found if match and match["name"] in names and item.is_file()]


def _free(path: Path, act: Callable[[], object], say: Say) -> bool:
    """Do something with a leftover that no living process holds; returns whether it was done."""
    try:
        with locked(path):
            act()
    except Busy:
        return False
    except Unknown:
        say(f"{path}: left by another run, killed or still at work; remove it if none is")
        return False
    return True


def put_back(aside: Path, path: Path) -> None:
    """Move the earlier output to its place."""
    aside.replace(path)
    sync(path.parent)


def move_foreign(aside: Path, path: Path) -> list[str]:
    """Move what is not ctseg's from the earlier output to the new one; returns names that were taken there."""
    mark = read_mark(aside)
    kept = []
    for name in foreign(aside, mark) if mark else list(entries(aside)):
        source, target = aside / name, path / name
        if is_real_folder(source) and is_real_folder(target):
            continue  # both empty of what is not ctseg's
        if os.path.lexists(target):
            kept.append(name)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    return kept


def discard(aside: Path, path: Path, say: Say) -> None:
    """Remove the earlier output, once `path` is in its place; files that are not ctseg's go to `path`."""
    kept = move_foreign(aside, path)
    if not kept:
        remove_whole(aside)
        return
    remove_owned(aside)
    say(f"{aside}: holds {len(kept)} files that ctseg did not write, as {kept[0]}; move them")


def remove_whole(folder: Path) -> None:
    """Remove a marked folder, the mark last: of one that a kill has left half removed the next run knows whose it is.

    Raises:
        OSError: if something of it cannot be removed.
    """
    for path in sorted(folder.iterdir(), key=lambda item: item.name == MARK):
        if is_real_folder(path):
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    folder.rmdir()


def remove_owned(folder: Path) -> None:
    """Remove the files that a marked folder owns, its mark, and the folders that are then empty; nothing else."""
    mark = read_mark(folder)
    if mark is None:
        return
    files = [folder / name for name in owned(folder, mark) if not is_real_folder(folder / name)]
    for path in (*files, folder / MARK):
        path.unlink()
    _remove_empty(folder, {parent for path in files for parent in path.parents if folder in parent.parents})


def _remove_empty(folder: Path, below: Collection[Path]) -> None:
    """Remove what is empty of some folders below `folder`, the deepest first, and of `folder` itself."""
    for parent in (*sorted(below, key=lambda item: -len(item.parts)), folder):
        if not any(parent.iterdir()):
            parent.rmdir()


def keep_changed(folder: Path, say: Say, *, copy: bool = False) -> None:
    """Keep the files of a finished output that somebody has changed, see `ctseg.outputs.changed`.

    Args:
        folder: of the output.
        say: takes a line about each.
        copy: leave them where they are, too, for a command that goes on with them.
    """
    mark = read_mark(folder)
    for name in changed(folder, mark.made, folder / MARK) if mark is not None and mark.finished else ():
        keep(folder / name, say, copy=copy)


def keep_changed_file(path: Path, say: Say) -> None:
    """Keep an output that is a single file, such as pairs, where somebody has changed it; it is moved."""
    if path.is_file() and what_changed(path):
        keep(path, say)


def refuse_changed(folder: Path, names: Collection[str]) -> None:
    """Refuse to go on with results that somebody has changed.

    Args:
        folder: of a finished output.
        names: of the files below it that hold the results.

    Raises:
        InputError: naming the file and the way out.
    """
    mark = read_mark(folder)
    seen = {} if mark is None else {name: mark.made[name] for name in names if name in mark.made}
    for name in changed(folder, seen, folder / MARK) if seen else ():
        raise InputError(
            f"{folder / name}: was changed since ctseg wrote it; move it to have it all measured again, or give "
            "another -o"
        )


def what_changed(path: Path) -> str:
    """What somebody has changed in, or removed from, a finished output: `masks (a.nii.gz changed)`; empty for nothing.

    Checkpoints may go: a finished training needs none.

    Args:
        path: of a folder with a mark, or of a file with one beside it.
    """
    is_folder = path.is_dir()
    mark, folder = (read_mark(path), path) if is_folder else (read_file_mark(path), path.parent)
    if mark is None or not mark.finished:
        return ""
    edited = changed(folder, mark.made, folder / MARK if is_folder else file_mark(path))
    lost = [name for name in gone(folder, mark.made) if Path(name).name != "checkpoint.pt"]
    words = [f"{first_of(names)} {what}" for names, what in ((edited, "changed"), (lost, "gone")) if names]
    return f"{path} ({', '.join(words)})" if words else ""


def is_real_folder(path: Path) -> bool:
    """Whether a path is a folder and no link to one."""
    return path.is_dir() and not path.is_symlink()
