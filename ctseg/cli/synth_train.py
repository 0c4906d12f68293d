"""`ctseg synth-train`: stage 1."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ctseg.cli import common, completion
from ctseg.cli.model_names import find_run
from ctseg.cli.training_options import From, Pairs, Preset, RunFolder
from ctseg.training.presets import DEFAULT


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("synth-train")(synth_train)


def synth_train(
    source: common.Source,
    target: common.Target,
    output: RunFolder,
    pairs: Pairs = None,
    preset: Preset = DEFAULT,
    generator: Annotated[
        str,
        typer.Option(
            "--generator", help="Generator; default: the preset's.", autocompletion=completion.plugins_of("generator")
        ),
    ] = "",
    start: From = None,
    settings: common.Set = [],  # noqa: B006 - typer copies it
    seed: common.Seed = 0,
    device: common.Device = "auto",
    devices: common.Devices = None,
    num_nodes: common.NumNodes = None,
    precision: common.Precision = "auto",
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Train the image synthesis network that turns MR into pseudo-CT (stage 1, equations 1 to 7)."""
    from ctseg.cli import training_options
    from ctseg.cli.model_card import write_model_card
    from ctseg.cli.processes import join
    from ctseg.cli.run_report import write_run_report
    from ctseg.cli.training_settings import with_plugin
    from ctseg.training import presets
    from ctseg.training.settings import SynthesisSettings

    team = join(output, device, precision, devices, num_nodes, seed)
    with team.agreed():
        begin = None if start is None else find_run(start)
        place = team.guard(output, "synth-train", (source, target, pairs, begin), overwrite=overwrite, resume=resume)
        base = with_plugin(presets.preset(presets.SYNTHESIS, preset), "generator", generator)
        stage = training_options.prepare(
            "synth-train", SynthesisSettings, base, settings,
            preset=preset, plugin=("generator", "generator"), sets=(source, target), pairs=pairs, seed=seed,
            place=place, start=begin,
        )  # fmt: skip

    from ctseg.synthesis.objective import check_features
    from ctseg.synthesis.train import train_synthesis

    def check(module: Any) -> None:
        if not callable(getattr(module, "objective", None)):
            check_features(module, stage.settings)

    with training_options.started(stage, place, team, (device, precision), check) as ready:
        summary = train_synthesis(*stage.sets, stage.pairs, ready.module, stage.settings, output, **ready.options)
        if not team.writes:
            return
        report, card = write_run_report(output), write_model_card(output)
    made = f"generator {stage.plugin.name!r}, {training_options.schedule(stage.settings)} -> {output}"
    common.finish({**summary, "output": str(output)}, [made, f"report: {report}", f"model card: {card}"], as_json)
