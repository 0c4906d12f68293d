"""Imports go one way, and listing plugins or showing help stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ctseg"
ORDER = (
    "io", "models", "implant", "render", "preprocess", "networks", "metrics", "matching", "augment", "selection",
    "training", "synthesis", "segmentation", "inference", "export", "evaluation", "inspection", "cli",
)  # fmt: skip
"""From below to above."""
PHANTOM_USERS = ("cli", "implant")
"""The command that makes the phantom, and what lays its haematomas into other scans."""
ROOT_MODULES = {
    "api",
    "arguments",
    "checkpoints",
    "deaths",
    "errors",
    "failures",
    "files",
    "harmless",
    "locks",
    "parallel",
    "progress",
    "remote",
    "runs",
    "same_code",
    "scheduler",
    "settings",
    "study",
    "study_inputs",
    "study_keys",
    "study_words",
    "temporary_names",
    "version",
    "weights",
    "wording",
}
CONTRACT = {"plugins"}
"""Hook specifications and protocols, which every layer may name; the host is looked up by `cli` alone."""
HEAVY = (
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "skimage",
    "nibabel",
    "pydicom",
    "matplotlib",
    "highdicom",
    "lightning_fabric",
    "PIL",
    "jinja2",
    "ctseg.render",
)


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Names under `ctseg.` that a module imports, but for type checking; with `lazy`, inside functions too."""
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            skipped.update(id(child) for child in ast.walk(node))
        if not lazy and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            skipped.update(id(child) for child in ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ctseg"):
            parts = node.module.split(".")
            found.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
            if parts[1:] == ["plugins", "host"] or (
                parts[1:] == ["plugins"] and "host" in {a.name for a in node.names}
            ):
                found.add("plugins.host")
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ctseg."))
    return found


@pytest.mark.parametrize("layer", ORDER)
def test_a_layer_imports_only_what_lies_below(layer: str) -> None:
    above = set(ORDER[ORDER.index(layer) + 1 :]) | ({"phantom"} if layer not in PHANTOM_USERS else set())
    wrong = {
        str(path.relative_to(ROOT)): sorted(hit)
        for path in (ROOT / layer).rglob("*.py")
        if (hit := imports(path, lazy=True) & above)
    }
    assert wrong == {}


def test_networks_import_torch_and_protocols_alone() -> None:
    for path in (ROOT / "networks").glob("*.py"):
        assert imports(path, lazy=True) <= {"networks", "plugins", "errors", "settings"}, path.name


def test_phantom_imports_io_alone_and_its_picture_render() -> None:
    for path in (ROOT / "phantom").glob("*.py"):
        drawing = {"render"} if path.stem == "picture" else set()
        assert imports(path, lazy=True) <= {"phantom", "io", *ROOT_MODULES, *drawing}, path.name


def test_render_imports_the_base_and_volumes_alone() -> None:
    for path in (ROOT / "render").glob("*.py"):
        assert imports(path, lazy=True) <= {"render", "io", *ROOT_MODULES}, path.name
        assert "torch" not in path.read_text(), path.name


def test_the_base_imports_no_layer() -> None:
    for path in ROOT.glob("*.py"):
        if path.stem not in ("api", "__init__", "__main__"):
            assert path.stem in ROOT_MODULES, path.name
            assert not imports(path, lazy=True) & set(ORDER), path.name


def test_only_the_command_line_looks_plugins_up() -> None:
    for path in ROOT.rglob("*.py"):
        if path.parent.name not in ("cli", "plugins") and path.stem not in ("api", "__main__"):
            assert "plugins.host" not in imports(path, lazy=False), path.relative_to(ROOT)


@pytest.mark.parametrize(
    "argv", [["--help"], ["match", "--help"], ["das-train", "--help"], ["segment", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from ctseg.cli.main import main; code = main(sys.argv[1:]); "
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stderr


def test_listing_plugins_imports_no_torch() -> None:
    code = (
        "import sys; from ctseg.cli.main import main; main(['plugins']); print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "amd" in done.stdout
    assert done.stderr.strip().endswith("False")
