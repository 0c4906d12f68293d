"""Checks that plugins of every kind have to pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from ctseg.conformance.subject import NotApplicable, Subject, require
from ctseg.errors import SettingError
from ctseg.plugins.entry import normal_name
from ctseg.runs import write_toml

HEAVY = ("torch", "tensorflow", "jax", "monai", "matplotlib", "skimage", "lightning_fabric")
PROBE = f"""
import sys
from ctseg.plugins import host as plugins
found = [item for item in plugins._installed() if plugins.normal_name(item[1].name) == sys.argv[1]]
registry = plugins.load(found=found)
for entry in registry.entries.values():
    if plugins.normal_name(entry.package) == sys.argv[1]:
        entry.settings_model()
print(len(found), *[name for name in {HEAVY!r} if name in sys.modules])
"""


def registers_without_heavy_imports(subject: Subject, _folder: Path) -> None:
    """Registering and the settings import none of torch, monai, matplotlib and the like."""
    package = normal_name(subject.entry.package)
    environment = {key: value for key, value in os.environ.items() if key != "CTSEG_DISABLE_PLUGINS"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE, package],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    require(done.returncode == 0, f"a fresh interpreter cannot register it: {done.stderr.strip().splitlines()[-1:]}")
    found, *heavy = done.stdout.split()
    if found == "0" and package != "ctseg":
        raise NotApplicable(f"{subject.entry.package} is not an installed package")
    require(not heavy, f"registering imports {', '.join(heavy)}; import it inside the factory")


def says_what_it_is(subject: Subject, _folder: Path) -> None:
    """It has a one-line summary and a reference, and every setting has a help text."""
    entry = subject.entry
    for name in ("summary", "reference"):
        text = getattr(entry, name)
        require(text.strip() and "\n" not in text, f"register(..., {name}=...) must be one line, not {text!r}")
    for name, info in entry.settings_model().model_fields.items():
        require(info.description, f"setting {name} has no help; Field(..., description=...)")


def settings_round_trip(subject: Subject, folder: Path) -> None:
    """Settings come back the same from a model's header (JSON) and from config.toml."""
    entry = subject.entry
    values = entry.resolve(subject.settings)
    require(entry.resolve(json.loads(json.dumps(values))) == values, f"JSON does not bring back {values}")
    text = write_toml(folder / "settings.toml", values).read_text(encoding="utf-8")
    require(entry.resolve(tomllib.loads(text)) == values, f"TOML does not bring back {values}")


def unknown_setting_is_refused(subject: Subject, _folder: Path) -> None:
    """A setting it does not know is an error."""
    try:
        subject.entry.resolve(subject.settings, {"no_such_setting": 1})
    except SettingError:
        return
    require(False, "accepts the unknown setting 'no_such_setting'; keep extra='forbid' of ctseg.settings.Settings")


def builds(subject: Subject, _folder: Path) -> None:
    """The factory makes an object from the settings, a new one each time."""
    first, second = subject.build(), subject.build()
    require(first is not second, "the factory gives the same object twice; settings of one run would reach another")
