"""`ctseg models`: the models that have a name, what they were made of, and what they cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common, completion

if TYPE_CHECKING:
    from ctseg.models import Catalogue, ModelCard, ModelInfo

app = typer.Typer(
    help="List and show trained models, and draft a model card.", no_args_is_help=False, invoke_without_command=True
)


def add_to(root: typer.Typer) -> None:
    """Join the application."""
    root.add_typer(app, name="models")


@app.callback()
def list_models(ctx: typer.Context, as_json: common.AsJson = False) -> None:
    """List the models of the package, of plugins and of your folder, broken ones too."""
    if ctx.invoked_subcommand is not None:
        return
    from ctseg.models import look_at_all

    known = _catalogue()
    infos = look_at_all(known)
    if as_json:
        typer.echo(json.dumps(_summary(known, infos)))
        return
    for line in [line for info in infos for line in _lines(info)] or ["no models here"]:
        common.show(line)
    for problem in known.problems:
        common.say(f"warning: {problem}")
    if known.folder:
        common.say(f"your own: put NAME.safetensors with its card NAME.json, or run folders, into {known.folder}")


def _summary(known: Catalogue, infos: list[ModelInfo]) -> dict[str, Any]:
    """For `--json`; `default` is None where `segment` has no model to take by itself."""
    from ctseg.models import DEFAULT

    usable = any(info.source.name == DEFAULT and not info.error for info in infos)
    return {
        "default": DEFAULT if usable else None,
        "folder": known.folder and str(known.folder),
        "problems": list(known.problems),
        "models": [_row(info) for info in infos],
    }


def _row(info: ModelInfo) -> dict[str, Any]:
    """For `--json`, with what lacks here to use it."""
    from ctseg.cli.run_plugin import header_lacks

    return {**info.row(), "lacks": (header_lacks(info.header) if info.header else "") or None}


def _lines(info: ModelInfo) -> list[str]:
    """A model in a few lines; a broken one in one."""
    head = f"{_plain(info.source.name):<14} [{_plain(info.source.owner)}]"
    if info.error:
        return [f"{head} broken: {_plain(info.error)}"]
    from ctseg.cli.run_plugin import header_lacks

    assert info.header is not None  # noqa: S101 - narrows the type
    facts = [f"{info.header.kind} {info.header.name}", f"{info.bytes / 1e6:.1f} MB", f"weights {info.sha256[:12]}"]
    lines = [f"{head} {_plain(', '.join(facts))}, licence {_plain(info.licence)}"]
    if info.card:
        lines.append(info.card.summary)
    lines += [f"trained on: {_plain('; '.join(info.training_data) or 'not stated')}"]
    lines += [f"limits: {_plain(' '.join(info.limits))}"]
    lines += [f"cannot be used here: {lacks}" for lacks in [header_lacks(info.header)] if lacks]
    return [lines[0], *(f"    {line}" for line in lines[1:])]


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that `ctseg models` lists, or a path.",
            metavar="NAME|RUN",
            autocompletion=completion.model_names,
        ),
    ],
    as_json: common.AsJson = False,
) -> None:
    """Show a model's card: how it was made, from which data, what was measured, and its limits."""
    from ctseg.cli.run_plugin import header_lacks
    from ctseg.errors import InputError
    from ctseg.models import look_at

    info = look_at(_catalogue().find(name, common.say))
    if info.error:
        raise InputError(info.error)
    if as_json:
        typer.echo(json.dumps(_row(info)))
        return
    assert info.header is not None  # noqa: S101 - narrows the type
    header = info.header
    rows = [
        ("model", f"{info.source.name or info.source.path.name} [{info.source.owner or 'given by its path'}]"),
        ("network", f"{header.kind} {header.name} of {header.package} {header.package_version}"),
        ("weights", f"{info.source.weights}, {info.bytes / 1e6:.1f} MB, SHA-256 {info.sha256}"),
        *(("plugin", lacks) for lacks in [header_lacks(header)] if lacks),
        ("licence", info.licence),
        *(_card_rows(info.card) if info.card else _header_rows(info)),
    ]
    for title, text in rows:
        common.show(f"{title:<14}{_plain(text)}")


def _card_rows(card: ModelCard) -> list[tuple[str, str]]:
    """A card as titled lines; a title is given once."""
    made = card.made
    time = "" if made.seconds is None else f", {made.seconds:.0f} s"
    seeds = f", seeds {', '.join(map(str, made.seeds))}" if made.seeds else ""
    labels = "outlines on real CT were learnt from" if card.ct_labels else "no outline on real CT was learnt from"
    lists: dict[str, list[str]] = {
        "what it does": [card.summary],
        "made by": [made.command, f"{made.tool} on {made.machine}{time}{seeds}".strip(), *filter(None, [made.note])],
        "trained on": [
            "; ".join(filter(None, [f"{datum.name} ({datum.licence})", datum.amount, datum.use, datum.source]))
            for datum in card.training_data
        ],
        "labels": [labels],
        "used with": _used_with(card),
        "measured": [_measured(item) for item in card.measured] or ["nothing"],
        "limits": list(card.limits),
        "intended": [card.intended_use],
        "references": list(card.references),
    }
    return [(title if not row else "", text) for title, texts in lists.items() for row, text in enumerate(texts)]


def _used_with(card: ModelCard) -> list[str]:
    """The settings of `segment` that the card brings with it, and how to do without."""
    faint = f"faint_hu={card.faint_hu:g}: faint spots are dropped; --set faint_hu=0 keeps them"
    grown = f"grow_mm={card.grow_mm:g}: lesions grow to half their height above the brain; --set grow_mm=0: they do not"
    mirrored = "tta: the mean over the image and its mirror images; --no-tta takes the image alone"
    return [
        text
        for text, is_used in ((faint, card.faint_hu > 0), (grown, card.grow_mm > 0), (mirrored, card.tta))
        if is_used
    ]


def _measured(item: Any) -> str:
    interval = "" if item.low is None else f" ({item.low:g} to {item.high:g})"
    cases = "" if item.cases is None else f", {item.cases} cases"
    return f"{item.metric} {item.value:g}{interval} on {item.data}{cases}" + (f"; {item.note}" if item.note else "")


def _header_rows(info: ModelInfo) -> list[tuple[str, str]]:
    """What is known of a model without a card."""
    assert info.header is not None  # noqa: S101 - narrows the type
    training = info.header.training
    return [
        ("card", "none; what follows is what the weights' file says of itself"),
        ("made by", f"{info.header.tool}, ctseg {training.get('command', '?')}, seed {training.get('seed', '?')}"),
        ("trained on", "; ".join(info.training_data) or "not stated"),
    ]


def _catalogue() -> Catalogue:
    from ctseg.models import known_models

    return known_models(common.registry().of_kind("model"))


def _plain(text: str) -> str:
    """Text from a file, without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _write_draft(output: Path, draft: ModelCard) -> None:
    """Write a card; another one in its place, which somebody may have filled in, is kept beside it."""
    from ctseg.files import read_json
    from ctseg.models.card import card_json, write_card
    from ctseg.outputs.changed import keep

    if output.is_file() and read_json(output) != card_json(draft):
        kept = keep(output, lambda _: None, copy=True)
        common.say(f"{output}: the card that was there is kept as {kept.name}")
    write_card(output, draft)


@app.command("card")
def card(
    run: Annotated[Path, typer.Argument(help="Finished run folder of `ctseg das-train` or `finetune`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Card to write, as NAME.json beside NAME.safetensors.")
    ],
    overwrite: common.Overwrite = False,
) -> None:
    """Draft a model's card from its run; what a run cannot know says `not stated` until you fill it in."""
    from ctseg.cli.card_draft import draft_card
    from ctseg.models.card import NOT_STATED
    from ctseg.models.card_files import is_card
    from ctseg.outputs import guard_file

    guard_file(output, lambda _: is_card(output), inputs=(run,), overwrite=overwrite, say=common.say)
    _write_draft(output, draft_card(run))
    common.say(f"model card: {output}; fill in what says {NOT_STATED!r}")
