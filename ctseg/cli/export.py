"""`ctseg export`: a trained segmenter for onnxruntime, OpenVINO or MONAI, shown to give the same numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ctseg.cli import common, completion
from ctseg.cli.model_names import find_models

if TYPE_CHECKING:
    from ctseg.models import ModelInfo

Target = Literal["onnx", "monai-bundle", "openvino"]


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("export")(export)


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME|RUN",
            help="A model of `ctseg models`, or a run of `ctseg das-train`.",
            autocompletion=completion.model_names,
        ),
    ],
    target: Annotated[Target, typer.Option("--to", help="The format.")] = "onnx",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("exported"),
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Export a segmenter for another program, with its pre- and post-processing, and compare both."""
    from ctseg.errors import InputError
    from ctseg.models import look_at
    from ctseg.outputs import whole_folder

    [source] = find_models([model])
    place = common.guard(output, "export", (model, source.path), overwrite=overwrite)
    info = look_at(source)
    if info.error:
        raise InputError(info.error)

    from ctseg.api import load_for_segment
    from ctseg.export.export import export_model

    groups, _ = load_for_segment([source], "cpu", common.registry(), say=common.warn)
    about = {"licence": info.licence, "training_data": info.training_data, "limits": info.limits}
    with whole_folder(place) as folder:
        parity = export_model(groups[0].models[0], target, folder, sha256=info.sha256, about=about, known=_known(info))
    summary = {"output": str(output), "to": target, "sha256": info.sha256, "parity": asdict(parity)}
    common.finish(summary, [parity.line(), f"{target}: {output}; how to run it: {output}/{_readme(target)}"], as_json)


def _readme(target: str) -> str:
    return "/".join([*(["docs"] if target == "monai-bundle" else []), "README.md"])


def _known(info: ModelInfo) -> dict[str, Any]:
    """What the model's header says under the keys of MONAI's `metadata.json`."""
    from ctseg.cli.model_card import metadata, scores

    assert info.header is not None  # noqa: S101 - narrows the type
    return metadata(info.header, scores(info.header, []))
