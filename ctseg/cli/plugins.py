"""`ctseg plugins`: what is installed, what a plugin takes, whether it keeps the contract, and a new one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ctseg.cli import common, completion

KIND_TITLES = {
    "similarity_metric": "Similarity metrics (ctseg match --similarity)",
    "metric": "Metrics (ctseg evaluate)",
    "generator": "Generators (ctseg synth-train --generator)",
    "segmenter": "Segmenters (ctseg das-train --segmenter)",
    "brain_extractor": "Brain extractors (ctseg preprocess --brain)",
    "model": "Trained models (ctseg segment --model)",
}
FAULTY = 2
"""Exit code when a plugin fails a check."""
app = typer.Typer(help="List, show, check and start plugins.", no_args_is_help=False, invoke_without_command=True)


def add_to(root: typer.Typer) -> None:
    """Join the application."""
    what = "similarity metrics, metrics, generators, segmenters, brain extractors and models"
    root.add_typer(app, name="plugins", help=f"List, show, check and start {what}.")


@app.callback()
def list_plugins(ctx: typer.Context, as_json: common.AsJson = False) -> None:
    """List everything that is installed, broken plugins too."""
    if ctx.invoked_subcommand is not None:
        return
    registry = common.registry()
    rows = [_row(entry) for entry in registry.entries.values() if not entry.clash]
    if as_json:
        others = {
            "clashes": registry.clashes,
            "broken": registry.broken,
            "deprecated": registry.deprecated,
            "noted": registry.noted,
        }
        typer.echo(json.dumps({"plugins": rows, **others}, default=asdict))
        return
    for kind, title in KIND_TITLES.items():
        common.show(title)
        _echo_rows([row for row in rows if row["kind"] == kind])
    _echo_faults(registry)


def _echo_faults(registry: Any) -> None:
    """What is to be said of packages, a line each."""
    for clash in registry.clashes:
        common.show(f"clash: {clash}")
    for item in registry.broken:
        common.show(f"broken: {item.package} {item.version}: {item.error}")
    for old in registry.deprecated:
        common.show(f"deprecated: {old.package} {old.version}: {old.note}")
    for seen in registry.noted:
        common.show(f"note: {seen.package} {seen.version}: {seen.note}")


def _echo_rows(rows: list[dict[str, str]]) -> None:
    """One line a plugin, by name."""
    width = max((len(row["name"]) for row in rows), default=0)
    for row in sorted(rows, key=lambda row: row["name"]):
        common.show(f"  {row['name']:<{max(width, 14)}} {row['summary']}  [{row['package']} {row['version']}]")


def _row(entry: Any) -> dict[str, str]:
    return {name: getattr(entry, name) for name in ("kind", "name", "summary", "package", "version", "reference")}


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="Registered name, or KIND:NAME where two kinds share it.", autocompletion=completion.plugins_of("")
        ),
    ],
    as_json: common.AsJson = False,
) -> None:
    """Show a plugin's settings with defaults and bounds, its package, and where the method comes from."""
    from ctseg.settings import describe

    entries = _find(name)
    if as_json:
        typer.echo(json.dumps([{**_row(entry), "settings": _settings(entry)} for entry in entries]))
        return
    for entry in entries:
        common.show(f"{entry.kind} {entry.name}: {entry.summary}")
        common.show(f"  package    {entry.package} {entry.version}")
        common.show(f"  reference  {entry.reference or 'none given'}")
        rows = describe(entry.settings_model())
        for row in rows:
            need = "no default" if row.required else ""
            kind = ", ".join(part for part in (need, row.type, row.bounds, row.unit) if part)
            common.show(f"  --set {row.name}={row.default_text}  ({kind}) {row.meaning}".rstrip())
        if not rows:
            common.show("  takes no settings")


def _settings(entry: Any) -> list[dict[str, Any]]:
    from ctseg.settings import describe

    return [asdict(row) for row in describe(entry.settings_model())]


@app.command("check")
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="Registered name, or KIND:NAME where two kinds share it.", autocompletion=completion.plugins_of("")
        ),
    ],
    device: common.Device = "cpu",
    settings: common.Set = [],  # noqa: B006 - typer copies it
    as_json: common.AsJson = False,
) -> None:
    """Run the conformance checks that every plugin must pass; exit code 2 if it fails one."""
    from ctseg.conformance import run_checks
    from ctseg.conformance.devices import require_device
    from ctseg.settings import parse_overrides

    entries = _find(name)
    require_device(device)
    values, outcomes = parse_overrides(settings), []
    for entry in entries:
        progress = None if as_json else _print_outcome
        found = common.registry()
        outcomes += run_checks(
            entry.kind, entry.name, settings=values, device=device, registry=found, progress=progress
        )
    counts = {status: sum(item.status == status for item in outcomes) for status in ("passed", "skipped", "failed")}
    if as_json:
        typer.echo(json.dumps({**counts, "checks": [asdict(item) for item in outcomes]}))
    common.say(f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    raise typer.Exit(FAULTY if counts["failed"] else 0)


def _print_outcome(outcome: Any) -> None:
    line = f"{outcome.kind:<18} {outcome.name:<14} {outcome.check:<42} {outcome.status:<8} {outcome.detail}"
    common.show(line.rstrip())


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What the plugin will be called in --similarity, --segmenter and so on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="similarity_metric, metric, generator, segmenter, brain_extractor, model, command or all.",
            autocompletion=completion.plugin_kinds,
        ),
    ] = "all",
) -> None:
    """Start a plugin: a small package that installs, works and passes its checks."""
    from ctseg.conformance.scaffold import write_package

    files = write_package(output, name, kind)
    for path in files:
        common.show(str(path))
    common.say(f"next: {_next(output, name, kind)}")


def _next(output: Path, name: str, kind: str) -> str:
    """What makes the new package useful: a command has no check of its own, and a model needs its files."""
    install = f"pip install -e {output}, then pytest {output}"
    if kind == "model":
        place = output / "src" / f"ctseg_{name.replace('-', '_')}" / "models"
        return f"put {name}.safetensors and {name}.json into {place}; {install} or ctseg plugins check model:{name}"
    return f"{install} or ctseg {name} --help" if kind == "command" else f"{install} or ctseg plugins check {name}"


def _find(name: str) -> list[Any]:
    """Entries of that name over all kinds.

    Raises:
        PluginError: listing what there is, or naming two packages that have the name.
    """
    from ctseg.errors import PluginError, unknown_name

    kind, colon, rest = name.rpartition(":")
    entries = common.registry().entries
    found = [entry for (entry_kind, key), entry in entries.items() if key == rest and (not colon or entry_kind == kind)]
    if not found:
        raise PluginError(unknown_name("plugin", name, sorted({key for _, key in entries})))
    clash = next((entry.clash for entry in found if entry.clash), "")
    if clash:
        raise PluginError(clash)
    return found
