"""What an output may be, what `--overwrite` replaces, and what killed runs leave behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from ctseg.errors import CtsegError, InputError, OutputExistsError
from ctseg.files import write_text
from ctseg.locks import held, locked
from ctseg.outputs import (
    MARK,
    growing_folder,
    guard_file,
    guard_output,
    guard_state,
    new_folder,
    read_mark,
    recover,
    remove_output,
    shared_folder,
)


def finished(folder: Path, *names: str, text: str = "old", overwrite: bool = False) -> Path:
    """An output folder as a command leaves it."""
    with new_folder(folder, overwrite) as made:
        for name in names or ("a.txt", "deep/b.txt"):
            write_text(made / name, text)
    return folder


def files(folder: Path) -> dict[str, str]:
    """Path below a folder -> text, without the mark."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARK
    }


def grow(folder: Path, names: list[str], **options: bool) -> None:
    with growing_folder(guard_output(folder, "grow", **options), names) as out:
        for name in names:
            write_text(out / name, "new")


def test_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "set") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    with new_folder(tmp_path / "set") as folder:
        assert not (tmp_path / "set").exists()
        (folder / "whole").write_text("x")
    assert os.listdir(tmp_path) == ["set"]
    assert sorted(os.listdir(tmp_path / "set")) == [MARK, "whole"]


def test_new_folder_overwrites_only_when_told(tmp_path: Path) -> None:
    finished(tmp_path / "set", "old")
    with pytest.raises(OutputExistsError, match="--overwrite"), new_folder(tmp_path / "set"):
        pytest.fail("the block must not run")
    finished(tmp_path / "set", "new", overwrite=True)
    assert sorted(os.listdir(tmp_path / "set")) == [MARK, "new"]
    assert os.listdir(tmp_path) == ["set"]


def test_a_failing_block_leaves_the_earlier_output(tmp_path: Path) -> None:
    finished(tmp_path / "set")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "set", overwrite=True) as folder:
        (folder / "a.txt").write_text("half")
        raise RuntimeError
    assert files(tmp_path / "set") == {"a.txt": "old", "deep/b.txt": "old"}
    assert os.listdir(tmp_path) == ["set"]


def test_an_empty_folder_does_not_count_as_existing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    finished(tmp_path / "empty", "a")
    (tmp_path / "file").write_text("letter")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="no folder"):
            guard_output(tmp_path / "file", "output", overwrite=overwrite)


def test_the_mark_names_the_files(tmp_path: Path) -> None:
    mark = read_mark(finished(tmp_path / "set", "a[1].txt", "deep/b.txt"))
    assert mark is not None
    assert (mark.kind, mark.finished) == ("output", True)
    assert all(map(mark.owns(), ["a[1].txt", "deep/b.txt"]))
    assert not any(map(mark.owns(), ["a1.txt", "b.txt", "deep/deep/b.txt"]))


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_what_ctseg_did_not_write_is_refused(tmp_path: Path, options: dict[str, bool]) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("dear")
    for broken in (None, "{", "[]", '{"schema": "other/1", "files": ["dear.txt"]}'):
        if broken is not None:
            (letters / MARK).write_text(broken)
        with pytest.raises(OutputExistsError, match="did not write; choose another output folder$"):
            guard_output(letters, "output", **options)
        assert (letters / "dear.txt").read_text() == "dear"


def test_another_commands_output_is_refused(tmp_path: Path) -> None:
    finished(tmp_path / "set")
    with pytest.raises(OutputExistsError, match="written by `ctseg output`; choose another") as caught:
        guard_output(tmp_path / "set", "segment", overwrite=True)
    assert "--" not in str(caught.value)


def test_a_users_files_survive_a_replacement(tmp_path: Path) -> None:
    folder = finished(tmp_path / "set")
    (folder / "deep" / "notes.txt").write_text("mine")
    (folder / "own" / "empty").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    nested = finished(folder / "evaluation", "cases.csv")
    inode = (folder / "deep" / "notes.txt").stat().st_ino
    finished(folder, "c.txt", text="new", overwrite=True)
    assert files(folder) == {"c.txt": "new", "deep/notes.txt": "mine", "evaluation/cases.csv": "old"}
    assert (folder / "deep" / "notes.txt").stat().st_ino == inode
    assert (folder / "own" / "empty").is_dir()
    assert (folder / "link").is_symlink()
    assert read_mark(nested) is not None
    assert os.listdir(tmp_path) == ["set"]


def test_a_users_file_of_a_new_files_name_is_not_replaced(tmp_path: Path) -> None:
    folder = finished(tmp_path / "set", "a.txt")
    (folder / "b.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"set/b\.txt: ctseg did not write it"):
        finished(folder, "a.txt", "b.txt", text="new", overwrite=True)
    assert files(folder) == {"a.txt": "old", "b.txt": "mine"}
    assert os.listdir(tmp_path) == ["set"]
    grow(tmp_path / "run", ["a"])
    (tmp_path / "run" / "b").write_text("mine")
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputExistsError, match="run/b: ctseg did not write it"):
            grow(tmp_path / "run", ["a", "b"], **options)
        assert files(tmp_path / "run") == {"a": "new", "b": "mine"}


def test_nothing_is_written_through_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a").write_text("scan")
    grow(tmp_path / "out", ["b"])
    (tmp_path / "out" / "maps").symlink_to(tmp_path / "scans")
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputExistsError, match="out/maps: ctseg did not write it"):
            grow(tmp_path / "out", ["b", "maps/a"], **options)
    assert (tmp_path / "scans" / "a").read_text() == "scan"


def test_a_link_to_an_output_stays_a_link(tmp_path: Path) -> None:
    finished(tmp_path / "set")
    (tmp_path / "link").symlink_to("set")
    finished(tmp_path / "link", "new", text="new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert files(tmp_path / "set") == {"new": "new"}


def spellings(tmp_path: Path) -> list[tuple[Path, Path]]:
    """(output, input) that name one folder, or an input in the output."""
    scans = tmp_path / "scans"
    (scans / "deep").mkdir(parents=True)
    (scans / "deep" / "a.nii.gz").write_text("scan")
    (tmp_path / "alias").symlink_to(scans)
    (tmp_path / "one.nii.gz").symlink_to(scans / "deep" / "a.nii.gz")
    (scans / "far.nii.gz").symlink_to(tmp_path / "elsewhere.nii.gz")
    (tmp_path / "elsewhere.nii.gz").write_text("scan")
    relative = Path(os.path.relpath(scans))
    return [
        (scans, scans),
        (scans, scans / "deep" / "a.nii.gz"),
        (scans, scans / "deep"),
        (scans, tmp_path / "alias"),
        (tmp_path / "alias", scans / "deep"),
        (scans, tmp_path / "one.nii.gz"),
        (scans, scans / "far.nii.gz"),
        (relative, scans),
        (scans / "deep" / "..", scans),
        (tmp_path, relative / "deep"),
        (scans, tmp_path / "alias" / "deep" / ".." / "deep"),
    ]


@pytest.mark.parametrize("row", range(11))
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_an_input_is_never_an_output(tmp_path: Path, row: int, options: dict[str, bool]) -> None:
    output, read = spellings(tmp_path)[row]
    with new_folder(tmp_path / "aside") as made:
        write_text(made / "a", "")
    (tmp_path / "aside" / MARK).replace(tmp_path / "scans" / MARK)  # even where ctseg wrote it
    with pytest.raises(InputError, match=r"(is one of the inputs|holds the input .*); choose another output folder$"):
        guard_output(output, "output", inputs=[tmp_path / "aside", read], **options)
    assert (tmp_path / "scans" / "deep" / "a.nii.gz").read_text() == "scan"


def test_a_second_name_of_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.nii.gz").write_text("scan")
    folder = finished(tmp_path / "masks", "b.nii.gz")
    os.link(tmp_path / "scans" / "a.nii.gz", folder / "a.nii.gz")
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match="is the input .*scans/a.nii.gz by another name"):
            guard_output(folder, "output", inputs=[tmp_path / "scans"], **options)
    guard_output(folder, "output", inputs=[tmp_path / "other"], overwrite=True)


def test_an_output_may_lie_in_an_input(tmp_path: Path) -> None:
    finished(tmp_path / "scans" / "masks")
    guard_output(tmp_path / "scans" / "new", "output", inputs=[tmp_path / "scans", None, "-"])
    guard_output(tmp_path / "scans" / "masks", "output", inputs=[tmp_path / "scans"], overwrite=True)


def is_pairs(line: bytes) -> bool:
    return line == b"a,b"


def test_a_file_is_replaced_only_where_it_looks_like_the_output(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b\n1,2\n")
    (tmp_path / "letter.csv").write_text("dear,b\n")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(OutputExistsError, match="exists already; choose another output or add --overwrite"):
        guard_file(tmp_path / "pairs.csv", is_pairs)
    for name in ("pairs.csv", "empty.csv", "new.csv"):
        assert guard_file(tmp_path / name, is_pairs, overwrite=True) == tmp_path / name
    for overwrite in (False, True):
        for name in ("letter.csv", "."):
            with pytest.raises(OutputExistsError, match="choose another output file$"):
                guard_file(tmp_path / name, is_pairs, overwrite=overwrite)
        with pytest.raises(OutputExistsError, match="is no file"):
            guard_file(Path(os.devnull), is_pairs, overwrite=overwrite)


def test_a_file_is_not_written_where_an_input_is_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "pairs.csv").write_text("a,b\n")
    (tmp_path / "link").symlink_to("set")
    for name in ("set/pairs.csv", "set/new.csv", "link/new.csv", "set/../set/new.csv"):
        with pytest.raises(InputError, match="lies in the input .*set; choose another output file$"):
            guard_file(tmp_path / name, is_pairs, inputs=[tmp_path / "set"], overwrite=True)
    with pytest.raises(InputError, match="is one of the inputs"):
        guard_file(tmp_path / "set/pairs.csv", is_pairs, inputs=[tmp_path / "link/pairs.csv"], overwrite=True)
    os.link(tmp_path / "set" / "pairs.csv", tmp_path / "hard.csv")
    with pytest.raises(InputError, match="is one of the inputs"):
        guard_file(tmp_path / "hard.csv", is_pairs, inputs=[tmp_path / "set" / "pairs.csv"], overwrite=True)


def test_a_studys_memory_is_not_written_over_something_else(tmp_path: Path) -> None:
    guard_state(tmp_path / "none.state.json")
    path = tmp_path / "a.state.json"
    for text in ("dear", "[]", '{"name": "letter"}', '{"name": {"other": 1}}'):
        path.write_text(text)
        with pytest.raises(InputError, match="rename the study file"):
            guard_state(path)
    path.write_text('{"match": {"key": "1", "done": true}}')
    guard_state(path)


def test_growing_keeps_the_earlier_output_until_it_is_finished(tmp_path: Path) -> None:
    folder, said = tmp_path / "run", list[str]()
    grow(folder, ["a", "b"])
    (folder / "notes.txt").write_text("mine")
    output = guard_output(folder, "grow", overwrite=True, say=said.append)
    with pytest.raises(KeyboardInterrupt), growing_folder(output, ["a", "c"]) as out:
        write_text(out / "c", "half")
        raise KeyboardInterrupt
    (aside,) = tmp_path.glob(".replaced-run-*")
    assert files(aside) == {"a": "new", "b": "new"}
    assert files(folder) == {"c": "half", "notes.txt": "mine"}
    assert "kept until" in said[0]
    with pytest.raises(OutputExistsError, match="exists already"):
        guard_output(folder, "grow")
    assert aside.exists()
    grow(folder, ["a", "c"], resume=True)
    assert os.listdir(tmp_path) == ["run"]
    assert files(folder) == {"a": "new", "c": "new", "notes.txt": "mine"}


def test_a_finished_mark_claims_only_what_was_written(tmp_path: Path) -> None:
    with growing_folder(guard_output(tmp_path / "out", "grow"), ["a", "b", "maps/*.png"]) as out:
        write_text(out / "a", "new")
    mark = read_mark(tmp_path / "out")
    assert mark is not None
    assert mark.files == ("a", "maps/*.png")


def test_a_shared_folder_is_marked_once_and_loses_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        shared_folder(guard_output(tmp_path / "demo", "demo", resume=True), ["study.toml"])
        write_text(tmp_path / "demo" / "study.toml", "")
        (tmp_path / "demo" / "notes.txt").write_text("mine")
    assert files(tmp_path / "demo") == {"study.toml": "", "notes.txt": "mine"}


def test_removing_an_output_leaves_a_users_files(tmp_path: Path) -> None:
    remove_output(finished(tmp_path / "set"))
    assert os.listdir(tmp_path) == []
    (finished(tmp_path / "set") / "deep" / "notes.txt").write_text("mine")
    remove_output(tmp_path / "set")
    assert files(tmp_path / "set") == {"deep/notes.txt": "mine"}
    with pytest.raises(OutputExistsError, match="did not write"):
        remove_output(tmp_path / "set")


# Killed runs

HEADER = """
    import os, signal, sys
    from pathlib import Path
    import ctseg.outputs.folders as folders
    from ctseg.files import write_text
    from ctseg.outputs import growing_folder, guard_output, new_folder

    def stop(name):
        if name == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    folders.step = stop
    out = Path(sys.argv[1])
"""
WHOLE = """
    with new_folder(out, overwrite=True) as made:
        write_text(made / "a.txt", "new")
        stop("half")
"""
GROWING = """
    with growing_folder(guard_output(out, "grow", overwrite=True), ["a.txt"]) as made:
        stop("begun")
        write_text(made / "a.txt", "new")
"""


def killed(script: str, out: Path, stage: str) -> None:
    code = textwrap.dedent(HEADER) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code, str(out), stage], timeout=60, check=False, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()


@pytest.mark.parametrize("stage", ["half", "ready", "aside", "placed"])
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path, stage: str) -> None:
    out, said = finished(tmp_path / "set"), list[str]()
    (out / "notes.txt").write_text("mine")
    killed(WHOLE, out, stage)
    assert len(os.listdir(tmp_path)) > 1
    with pytest.raises(OutputExistsError, match="exists already; choose another output or add --overwrite"):
        guard_output(out, "output", say=said.append)
    new = {"a.txt": "new"}
    assert files(out) == (new if stage == "placed" else {"a.txt": "old", "deep/b.txt": "old"}) | {"notes.txt": "mine"}
    assert os.listdir(tmp_path) == ["set"]
    assert said
    assert all(str(out) in line or ".partial-set-" in line for line in said)
    finished(out, "a.txt", text="newer", overwrite=True)
    assert files(out) == {"a.txt": "newer", "notes.txt": "mine"}


@pytest.mark.parametrize("stage", ["ready", "aside", "placed", "begun"])
def test_a_kill_while_growing_anew_keeps_the_earlier_output(tmp_path: Path, stage: str) -> None:
    out = tmp_path / "run"
    grow(out, ["a.txt", "b.txt"])
    (out / "notes.txt").write_text("mine")
    killed(GROWING, out, stage)
    old = {"a.txt": "new", "b.txt": "new"}
    guard_output(out, "grow", overwrite=True)
    homes = [out, *tmp_path.glob(".replaced-run-*")]
    assert sum(old.items() <= files(home).items() for home in homes) == 1
    assert sum("notes.txt" in files(home) for home in homes) == 1
    grow(out, ["a.txt"], overwrite=True)
    assert files(out) == {"a.txt": "new", "notes.txt": "mine"}
    assert os.listdir(tmp_path) == ["run"]


def test_a_killed_write_of_a_file_is_cleaned(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from ctseg.files import write_with
        write_with(Path(sys.argv[1]), lambda path: (path.write_text("half"), os._exit(9)))
    """
    grow(tmp_path / "run", ["a.pt"])
    (tmp_path / "pairs.csv").write_text("a,b\n")
    for path in (tmp_path / "run" / "a.pt", tmp_path / "pairs.csv"):
        argv = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        assert subprocess.run(argv, timeout=60, check=False).returncode == 9
    said = list[str]()
    guard_output(tmp_path / "run", "grow", resume=True, say=said.append)
    guard_file(tmp_path / "pairs.csv", is_pairs, overwrite=True, say=said.append)
    assert len(said) == 2
    assert ".partial-" not in "".join(str(path) for path in tmp_path.rglob("*"))
    assert files(tmp_path) == {"run/a.pt": "new", "pairs.csv": "a,b\n"}


def test_long_names_are_replaced_and_their_leftovers_cleaned(tmp_path: Path) -> None:
    name = "a" * 250
    out = finished(tmp_path / name)
    killed(WHOLE, out, "half")
    finished(out, overwrite=True)
    assert os.listdir(tmp_path) == [name]


def test_what_a_living_process_uses_stays(tmp_path: Path) -> None:
    said = list[str]()
    code = """
        import sys, time
        from pathlib import Path
        from ctseg.files import write_with
        from ctseg.outputs import new_folder
        def wait(path):
            print("ready", flush=True)
            sys.stdin.read()
        with new_folder(Path(sys.argv[1])) as made:
            (made / "a.txt").write_text("half")
            write_with(Path(sys.argv[2]), wait)
    """
    argv = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "set"), str(tmp_path / "pairs.csv")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        assert living.stdout is not None
        assert living.stdin is not None
        assert living.stdout.readline() == b"ready\n"
        with pytest.raises(InputError, match="another call of ctseg writes there"):
            guard_output(tmp_path / "set", "output", say=said.append)
        recover(tmp_path / "set", said.append)
        guard_file(tmp_path / "pairs.csv", is_pairs, say=said.append)
        assert said == []
        assert len(list(tmp_path.glob(".partial-*"))) == 2
        living.stdin.close()
        assert living.wait(60) == 0
    assert sorted(os.listdir(tmp_path)) == ["pairs.csv", "set"]


def test_two_calls_do_not_write_one_folder(tmp_path: Path) -> None:
    grow(tmp_path / "run", ["a"])
    with locked(tmp_path / "run"):
        for options in ({"overwrite": True}, {"resume": True}):
            with pytest.raises(InputError, match="another call of ctseg writes there"):
                grow(tmp_path / "run", ["a"], **options)
    grow(tmp_path / "run", ["a"], resume=True)


def test_a_users_folder_that_is_named_like_a_leftover_stays(tmp_path: Path) -> None:
    for name in (".partial-set-abcdefgh", ".replaced-set-abcdefgh", ".partial-set-b-abcdefgh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dear.txt").write_text("mine")
    finished(tmp_path / "set-b")
    (tmp_path / ".partial-set-b-abcdefgh" / MARK).write_text((tmp_path / "set-b" / MARK).read_text())
    guard_output(tmp_path / "set", "output")
    assert sum(path.name == "dear.txt" for path in tmp_path.rglob("*")) == 3


def test_without_locks_leftovers_are_named_and_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, said = finished(tmp_path / "set"), list[str]()
    killed(WHOLE, out, "half")
    monkeypatch.setattr("ctseg.locks.fcntl", None)
    guard_output(out, "output", overwrite=True, say=said.append)
    assert "remove it if none is" in said[0]
    assert len(os.listdir(tmp_path)) == 2
    finished(out, "a.txt", text="new", overwrite=True)
    assert files(out) == {"a.txt": "new"}
    for _ in range(2):
        grow(tmp_path / "run", ["a"], overwrite=True)
    assert not list(tmp_path.glob(".replaced-*"))


def test_the_errors_are_one_line_with_exit_code_2(tmp_path: Path) -> None:
    with pytest.raises(CtsegError) as caught:
        guard_output(tmp_path, "output", inputs=[tmp_path])
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_disk_that_becomes_read_only_names_the_output_and_no_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock could not be removed, and that error took the place of the one before it."""

    def read_only(path: Any, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))

    with pytest.raises(OSError, match="mask.nii.gz"), held(tmp_path / "out"):
        monkeypatch.setattr(os, "unlink", read_only)
        read_only("mask.nii.gz")
    monkeypatch.undo()
    with held(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OSError, match="Read-only") as failed, held(tmp_path / "out"):
        pass
    assert failed.value.filename == str(tmp_path / "out")
