"""`ctseg synthesize`: labelled MR becomes labelled pseudo-CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ctseg.cli import common
from ctseg.cli.model_names import find_run


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("synthesize")(synthesize)


def synthesize(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME|RUN", help="Run of `ctseg synth-train`, or its weights.")
    ],
    source: common.Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="Slice set to write.")],
    format_: Annotated[
        Literal["slices", "nifti"], typer.Option("--format", help="A slice set, or NIfTI volumes in HU.")
    ] = "slices",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Slices at a time.")] = 16,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Translate MR slices to pseudo-CT with the same masks."""
    from ctseg.cli.training_options import machine_inputs
    from ctseg.io.input_digests import file_digest, set_digests
    from ctseg.io.slices import check_domain
    from ctseg.outputs import whole_folder
    from ctseg.plugins.called import call_of
    from ctseg.plugins.needed import Needed, needed_entry, other_version
    from ctseg.runs import load_model, model_path
    from ctseg.synthesis.translate import ct_intensity, translate
    from ctseg.synthesis.volumes import ONE_SLICE_MM, relative_to, translate_nifti
    from ctseg.training.device import make_fabric

    run = find_run(model)
    place = common.guard(output, "synthesize", (source, run), overwrite=overwrite)
    slices = common.open_set(source)
    check_domain(slices, "mr", "--src")
    registry = common.registry()
    generator, header = load_model(run, registry.build_from_header, "generator", registry.version_of)
    made = Needed.of_header(header)
    differ = other_version(needed_entry(registry, made), made)
    if differ:
        common.warn(f"{run}: {differ}; pseudo-CT may differ from that of its training")
    fabric = make_fabric(device, precision)
    made_of = {"source": set_digests(slices), "model": file_digest(model_path(run)), **machine_inputs(fabric)}
    made_of |= {"other_versions": differ} if differ else {}
    notes: list[str] = []
    options: dict[str, Any] = {"header": header, "fabric": fabric, "batch_size": batch_size}
    who = f"generator {header.name} of {header.package} {registry.version_of(header)}"
    with (
        whole_folder(place, inputs=made_of) as folder,
        common.bar("Pseudo-CT", len(slices)) as bar,
        call_of(header.package, who),
    ):
        if format_ == "slices":
            translate(generator, slices, folder, progress=bar.update, inputs=made_of, **options)
        else:
            flat = translate_nifti(generator, slices, folder, progress=bar.update, **options)
            notes = [note for note in [relative_to(ct_intensity(header))] if note]
            notes += [f"scans of one slice, {ONE_SLICE_MM:g} mm thick in their files: {len(flat)}"] if flat else []
    summary = {"slices": len(slices), "generator": header.name, "output": str(output), "inputs": made_of}
    lines = [*notes, f"{len(slices)} pseudo-CT slices by {header.name!r} -> {output}"]
    common.finish(summary, lines, as_json)
