"""An output that is an input through another mount: bind mounts and overlays, as told and as they are."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ctseg.outputs import MARK
from ctseg.outputs.folders import refuse_clash
from ctseg.outputs.guard import guard_output
from ctseg.outputs.mark import Mark, write_mark
from ctseg.outputs.mounts import Spots, holds

INFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 254:0 /data/scans /in rw - ext4 /dev/vda rw
24 22 254:0 /data /out rw shared:1 - ext4 /dev/vda rw
25 22 254:0 /data/scans/a.nii /one.nii rw - ext4 /dev/vda rw
26 22 254:0 /a\\040b /with\\040space rw - ext4 /dev/vda rw
27 22 0:44 / /merged rw - overlay overlay rw,lowerdir=/low\\:er:/in,upperdir=/data/up,workdir=/w
28 22 0:50 / /hidden rw - tmpfs tmpfs rw
29 22 254:0 /data/late /hidden rw - ext4 /dev/vda rw
broken line
"""


@pytest.fixture
def spots(tmp_path: Path) -> Spots:
    (tmp_path / "mountinfo").write_text(INFO)
    return Spots(tmp_path / "mountinfo")


@pytest.mark.parametrize(("one", "other"), [
    ("/in", "/data/scans"), ("/in/x/y", "/out/scans/x/y"), ("/one.nii", "/in/a.nii"), ("/with space/c", "/a b/c"),
    ("/merged/x", "/data/up/x"), ("/merged/x", "/out/up/x"), ("/merged/x", "/in/x"), ("/merged/x", "/low:er/x"),
    ("/hidden/x", "/data/late/x"), ("/out", "/data"),
])  # fmt: skip
def test_two_paths_of_one_place_share_a_spot(spots: Spots, one: str, other: str) -> None:
    assert spots.of([Path(one)]) & spots.of([Path(other)])


@pytest.mark.parametrize(("outer", "inner", "expected"), [
    ("/out", "/in", True), ("/out", "/one.nii", True), ("/data", "/in/deep", True), ("/", "/in", True),
    ("/in", "/out", False), ("/in", "/in", False), ("/data/scan", "/in", False), ("/out/scans", "/merged/x", True),
])  # fmt: skip
def test_what_holds_what(spots: Spots, outer: str, inner: str, expected: bool) -> None:
    assert holds(spots.of([Path(outer)]), spots.of([Path(inner)])) is expected


def test_where_paths_tell_all_nothing_is_compared(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(INFO.splitlines()[0] + "\n")
    assert Spots(tmp_path / "mountinfo").of([tmp_path]) == frozenset()
    assert Spots(tmp_path / "missing").of([tmp_path]) == frozenset()


MOUNTED = """
    import subprocess
    from pathlib import Path
    from ctseg.errors import CtsegError
    from ctseg.outputs.guard import guard_file, guard_output
    from ctseg.outputs.mark import MARK, Mark, write_mark

    def mount(*words):
        subprocess.run(["mount", *words], check=True)

    here = Path.cwd()
    Path("data/scans/deep").mkdir(parents=True)
    for name in ("in", "deep", "all", "low", "up", "work", "merged"):
        Path(name).mkdir()
    Path("data/scans/a.nii").write_text("a")
    Path("one.nii").touch()
    mount("--bind", "data/scans", "in")
    mount("--bind", "data/scans/deep", "deep")
    mount("--bind", "data", "all")
    mount("--bind", "data/scans/a.nii", "one.nii")
    layers = f"lowerdir={here}/data/scans,upperdir={here}/up,workdir={here}/work"
    overlay = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "merged", "-o", layers],
        check=False, capture_output=True,
    ).returncode == 0
    for folder in ("data", "data/scans", "data/scans/deep"):
        write_mark(Path(folder), Mark("segment", ("*",)))
    pairs = [
        ("in", "data/scans"), ("data/scans", "in"), ("data", "in"), ("all", "in"), ("all", "one.nii"),
        ("data/scans", "one.nii"), ("all/scans", "in/a.nii"), ("in/deep", "deep"), ("deep", "all/scans/deep"),
        *([("data/scans", "merged"), ("up", "merged")] if overlay else []),
    ]
    for out, given in pairs:
        try:
            guard_output(Path(out), "segment", inputs=[Path(given)], overwrite=True)
            print("ALLOWED", out, given)
        except CtsegError as error:
            print("refused", error)
    for out, given in (("deep/x.csv", "in"), ("all/scans/x.csv", "in"), ("one.nii", "in"), ("one.nii", "data/scans")):
        try:
            guard_file(Path(out), lambda _: True, inputs=[Path(given)], overwrite=True)
            print("ALLOWED", out, given)
        except CtsegError as error:
            print("refused", error)
    guard_output(Path("all/new"), "segment", inputs=[Path("in")], overwrite=True)
    guard_output(Path("in/new"), "segment", inputs=[Path("data/scans")], overwrite=True)
"""


def test_an_input_by_another_mount_is_refused(tmp_path: Path) -> None:
    private = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*private, "mount", "--bind", ".", "."], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(
        [*private, sys.executable, "-c", textwrap.dedent(MOUNTED)],
        cwd=tmp_path, check=True, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) >= 13
    assert [line for line in lines if not line.startswith("refused")] == []
    assert (tmp_path / "data/scans/a.nii").read_text() == "a"


def test_a_users_file_is_not_written_over_where_case_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mark(tmp_path, Mark("segment", ("a.nii.gz",)))
    for name in ("a.nii.gz", "Volumes.csv"):
        (tmp_path / name).write_text("x")
    output = guard_output(tmp_path, "segment", resume=True)
    refuse_clash(tmp_path, ("a.nii.gz", "volumes.csv", "3d/b.png"), output)
    monkeypatch.setattr("ctseg.outputs.folders.ignores_case", lambda _: True)
    with pytest.raises(Exception, match=r"Volumes\.csv: ctseg did not write it"):
        refuse_clash(tmp_path, ("a.nii.gz", "volumes.csv"), output)
    (tmp_path / "Volumes.csv").rename(tmp_path / "B_notes.txt")
    refuse_clash(tmp_path, ("a.nii.gz", "volumes.csv", "B.nii.gz"), output)
    (tmp_path / "3D").write_text("x")
    with pytest.raises(Exception, match="3D: ctseg did not write it"):
        refuse_clash(tmp_path, ("3d/b.png",), output)


def test_case_is_told_by_the_mark(tmp_path: Path) -> None:
    from ctseg.outputs.mark import ignores_case

    assert not ignores_case(tmp_path)
    write_mark(tmp_path, Mark("segment"))
    assert not ignores_case(tmp_path)
    (tmp_path / MARK.upper()).touch()  # as if the system gave one for the other
    assert ignores_case(tmp_path)
