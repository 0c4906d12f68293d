"""`ctseg synth-train`: stage 1."""

from __future__ import annotations

from typing import Annotated

import typer

from ctseg.cli import common
from ctseg.cli.training_options import Pairs, Preset, RunFolder


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("synth-train")(synth_train)


def synth_train(
    source: common.Source,
    target: common.Target,
    output: RunFolder,
    pairs: Pairs = None,
    preset: Preset = "paper",
    generator: Annotated[str, typer.Option("--generator", help="Generator; default: the preset's.")] = "",
    settings: common.Set = [],  # noqa: B006 - typer copies it
    seed: common.Seed = 0,
    device: common.Device = "auto",
    devices: common.Devices = 1,
    precision: common.Precision = "auto",
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Train the image synthesis network that turns MR into pseudo-CT (stage 1, equations 1 to 7)."""
    from ctseg import presets
    from ctseg.cli import training_options
    from ctseg.io.slices import open_slices
    from ctseg.matching.pairs import read_pairs
    from ctseg.runs import ModelHeader, start_run
    from ctseg.settings import parse_overrides, resolve
    from ctseg.training_settings import SynthesisSettings

    chosen = {"generator": generator, "generator_settings": {}} if generator else {}
    base = {**presets.preset(presets.SYNTHESIS, preset), **chosen}
    overrides = parse_overrides(settings)
    resolved = resolve(SynthesisSettings, base, overrides, where="synth-train")
    plugin = common.registry().get("generator", resolved.generator)
    values = plugin.resolve(resolved.generator_settings)
    sets = open_slices(source), open_slices(target)
    training_options.check_inputs(*sets)
    if pairs is None and resolved.matched:
        from ctseg.errors import SettingError

        raise SettingError("synth-train: no --pairs given; make them with `ctseg match`, or add --set matched=false")
    table = read_pairs(pairs, *sets, top=resolved.pairs_top) if pairs is not None and resolved.matched else None

    from ctseg.synthesis.train import train_synthesis
    from ctseg.training import make_fabric

    fabric = make_fabric(device, precision, devices, seed)
    config = training_options.config(
        "synth-train", preset, resolved, seed, plugin, {"source": sets[0], "target": sets[1]}
    )
    resuming = start_run(output, config, overwrite=overwrite, resume=resume)
    header = ModelHeader(
        "generator", plugin.name, values, plugin.package, plugin.version, training_options.ct_input(sets[1]),
        {"command": "synth-train", "preset": preset, "seed": seed},
    )  # fmt: skip
    with common.bar("Stage 1") as bar:
        summary = train_synthesis(
            *sets, table, plugin, resolved, output, fabric=fabric, seed=seed, resume=resuming, header=header,
            progress=bar.update,
        )  # fmt: skip
    common.finish({**summary, "output": str(output)}, [f"generator {plugin.name!r} -> {output}"], as_json)
