"""`ctseg plugins new`: a small package that installs, works and passes its checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ctseg.errors import SettingError, unknown_name
from ctseg.outputs import new_folder
from ctseg.plugins.hookspecs import CONTRACT

TEMPLATE = Path(__file__).with_name("template")
KINDS = ("similarity_metric", "metric", "generator", "segmenter", "brain_extractor", "model", "command")
WITHOUT_SETTINGS = ("model", "command")
PREFIX = "ctseg-"
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def write_package(folder: Path, name: str, kind: str = "all") -> list[Path]:
    """Write a plugin package.

    Args:
        folder: made; must not hold anything yet.
        name: what it registers; the package is called `ctseg-NAME`.
        kind: 'similarity_metric', 'metric', 'generator', 'segmenter', 'brain_extractor', 'model', 'command' or
            'all'.

    Returns:
        The files written.

    Raises:
        SettingError: if the name or the kind cannot be used.
        OutputExistsError: if the folder is in use.
    """
    files = render(name, kind)
    with new_folder(folder, kind="plugins new", marked=False) as made:
        for place, text in files.items():
            path = made / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return [Path(folder) / place for place in files]


def render(name: str, kind: str = "all") -> dict[str, str]:
    """Path in the package -> text; arguments and errors as for `write_package`."""
    if kind not in (*KINDS, "all"):
        raise SettingError(unknown_name("kind of plugin", kind, [*KINDS, "all"]))
    name = name.removeprefix(PREFIX)
    if not NAME.fullmatch(name):
        raise SettingError(
            f"{name!r}: a plugin's name is small letters, digits, single hyphens and underscores, as my-metric"
        )
    package = PREFIX + name.replace("_", "-")  # as pip writes it
    kinds = list(KINDS) if kind == "all" else [kind]
    values: dict[str, Any] = {"name": name, "package": package, "module": package.replace("-", "_"), "kinds": kinds}
    values["contract"] = CONTRACT
    places = _places(values["module"], kinds)
    return {place: _render(template, values) for place, template in places.items()}


def _places(module: str, kinds: list[str]) -> dict[str, str]:
    """Path in the package -> path of its template."""
    with_settings = any(kind not in WITHOUT_SETTINGS for kind in kinds)
    parts = ["__init__", *(["settings"] if with_settings else []), *(kind for kind in kinds if kind != "model")]
    places = {"pyproject.toml": "pyproject.toml.j2", "README.md": "README.md.j2"}
    places |= {f"src/{module}/models/README.md": "src/models.md.j2"} if "model" in kinds else {}
    places |= {f"src/{module}/{part}.py": f"src/{part}.py.j2" for part in parts}
    return places | {"tests/test_conformance.py": "tests/test_conformance.py.j2"}


def _render(template: str, values: dict[str, Any]) -> str:
    import jinja2

    # Python and TOML, never HTML: nothing is to be escaped.
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(TEMPLATE),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(values)
