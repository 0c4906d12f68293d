"""The container files install the same things and leave nobody with root rights or a folder to write in."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKER = (ROOT / "containers" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
APPTAINER = (ROOT / "containers" / "ctseg.def").read_text(encoding="utf-8").replace("\\\n", " ")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def installs(text: str) -> list[str]:
    """What each `pip install` of a file installs; folders and the index are left out."""
    calls = re.findall(r"pip install ([^&\n]+)", re.sub(r"(?m)^#.*", "", text))
    words = [[word for word in call.split() if not word.startswith("-")] for call in calls]
    return [Path(call[-1]).name for call in words]


def test_both_install_the_tested_torch_and_the_wheel() -> None:
    assert installs(DOCKER) == installs(APPTAINER) == ["torch", "ctseg-*.whl"]
    for text in (DOCKER, APPTAINER):
        assert text.count("-c /build/constraints.txt") == 2
        assert TORCH_INDEX in text
        assert "--extra-index-url https" not in text  # an argument of the build, so that a GPU's torch can be taken
    assert re.search(r"BASE=docker.io/library/(\S+)", DOCKER)[1] == re.search(r"From: (\S+)", APPTAINER)[1]


def test_the_build_for_a_gpu_is_that_of_pypi() -> None:
    """The lock, made from PyPI, holds CUDA's libraries beside torch, so that no other base is needed."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"(?m)^torch==(\S+)", lock)[1] in (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    assert re.search(r"(?m)^nvidia-cuda-runtime==13\.", lock)
    for text in (DOCKER, APPTAINER, (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")):
        assert "TORCH_INDEX=https://pypi.org/simple" in text


def test_the_image_runs_as_nobody_and_writes_to_tmp_alone() -> None:
    last = DOCKER.rpartition("\nFROM ")[2]
    user = re.search(r"(?m)^USER (\d+):(\d+)$", last)
    assert user is not None
    assert min(map(int, user.groups())) > 0
    environment = dict(re.findall(r"(\w+)=(\S+)", re.search(r"(?m)^ENV (.+)$", last)[1]))
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"):
        assert environment[name].startswith("/tmp"), name  # noqa: S108 - inside the container
    assert re.search(r'(?m)^ENTRYPOINT \["ctseg"\]$', last)
