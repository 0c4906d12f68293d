"""The form of every help page: plain words for what a value is, paragraphs, and two examples at the end.

A test parses each example as its command does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

EXAMPLES: dict[str, tuple[str, str]] = {
    "": ("ctseg segment scans/ -o masks", "ctseg demo -o demo"),
    "preprocess": (
        "ctseg preprocess Task01_BrainTumour -o sets/mr --slices 60:100",
        "ctseg preprocess rsna/stage_2_train -o sets/ct --labels stage_2_train.csv --select intraparenchymal",
    ),
    "match": (
        "ctseg match --src sets/mr --tgt sets/ct -o pairs.csv",
        "ctseg match --src sets/mr --tgt sets/ct --direction target -o pairs-stage2.csv",
    ),
    "synth-train": (
        "ctseg synth-train --src sets/mr --tgt sets/ct --pairs pairs.csv -o runs/synthesis",
        "ctseg synth-train --src sets/mr --tgt sets/ct --pairs pairs.csv -o runs/synthesis --resume",
    ),
    "synthesize": (
        "ctseg synthesize --model runs/synthesis --src sets/mr -o sets/pseudo-ct",
        "ctseg synthesize --model runs/synthesis --src sets/mr --format nifti -o pseudo-ct",
    ),
    "das-train": (
        "ctseg das-train --src sets/pseudo-ct --tgt sets/ct --pairs pairs-stage2.csv -o runs/das",
        "ctseg das-train --src sets/mr --tgt sets/ct --preset plus --set lambda_adv=0 -o runs/mr-only",
    ),
    "segment": (
        "ctseg segment scans/ -o masks",
        "find scans -name '*.nii.gz' -print0 | ctseg segment -0 - --model runs/das -o masks --json",
    ),
    "evaluate": (
        "ctseg evaluate --pred masks --ref truth -o evaluation",
        "ctseg evaluate --pred masks/a --pred masks/b --ref truth --images scans -o evaluation",
    ),
    "finetune": (
        "ctseg finetune --data sets/labelled-ct --from runs/das -o runs/finetune",
        "ctseg finetune --data sets/labelled-ct --folds 3 --set epochs=20 -o runs/scratch",
    ),
    "run": ("ctseg run study.toml --dry-run", "ctseg run study.toml"),
    "demo": ("ctseg demo -o demo", "ctseg demo -o demo-gpu --full --device cuda"),
    "phantom": ("ctseg phantom -o phantom", "ctseg phantom -o small --mr 3 --ct 6 --ct-test 3 --set ct_matrix=192"),
    "settings": ("ctseg settings das-train --preset plus", "ctseg settings match --plugin phash --json"),
    "config": ("ctseg config", "CTSEG_WORKERS=8 ctseg config preprocess --json"),
    "inspect": ("ctseg inspect scans/ --workers 4", "ctseg inspect sets/ct --thumbnail ct.png"),
    "doctor": ("ctseg doctor", "ctseg doctor --quick --json"),
    "models": ("ctseg models", "ctseg models --json"),
    "models show": ("ctseg models show default", "ctseg models show runs/das --json"),
    "models card": ("ctseg models card runs/das -o das.json", "ctseg models card runs/finetune/fold_1 -o fold-1.json"),
    "export": (
        "ctseg export default --to onnx -o default-onnx",
        "ctseg export runs/das --to monai-bundle -o das-bundle",
    ),
    "bids": (
        "ctseg bids dataset dataset/derivatives/ctseg participant",
        "ctseg bids dataset out participant --participant-label 01 02 --model runs/das",
    ),
    "plugins": ("ctseg plugins", "ctseg plugins --json"),
    "plugins show": ("ctseg plugins show fcn", "ctseg plugins show similarity_metric:amd --json"),
    "plugins check": ("ctseg plugins check amd", "ctseg plugins check unet --set depth=3 --device cuda"),
    "plugins new": (
        "ctseg plugins new profile -o ctseg-profile --kind similarity_metric",
        "ctseg plugins new mine -o ctseg-mine",
    ),
}
"""Command without `ctseg` -> what one types."""


VALUES: dict[Any, str] = {Path: "PATH", str: "TEXT", int: "N", float: "NUMBER"}
"""What help calls the value of an option."""


def examples(*lines: str) -> str:
    """Examples as the end of a help page: the `epilog` of a command."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines)])


def finish_help(command: Any, path: str = "") -> None:
    """Give a command, and all below it, its examples; write paragraphs as such, and plain words for types.

    A command of a plugin brings its examples as its `epilog`.
    """
    if path in EXAMPLES:
        before = [command.epilog] if command.epilog and not str(command.epilog).startswith("Examples:") else []
        command.epilog = "\n\n".join([examples(*EXAMPLES[path]), *before])
    if command.help:
        command.help = "\n\n".join(" ".join(part.split()) for part in command.help.split("\n\n"))
    for parameter in [*command.params, _help_option(command)]:
        _name_value(parameter)
    for name, below in getattr(command, "commands", {}).items():
        finish_help(below, f"{path} {name}".strip())


def _name_value(parameter: Any) -> None:
    """A flag takes no value; an option takes a TEXT, and an argument is its name alone. Choices are listed."""
    if getattr(parameter, "is_flag", False):
        parameter.metavar = parameter.metavar or ""
        return
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    value = VALUES.get(next(iter(getattr(annotation, "__args__", ())), annotation))
    if value is None:  # a choice, or a typer that has no such types
        return
    if parameter.param_type_name == "argument":
        parameter.metavar = parameter.metavar or parameter.name.upper()
        parameter.display_type_rich = lambda ctx: None  # noqa: ARG005 - typer names it
    elif parameter.metavar is None:
        parameter.metavar = value


HELP_FLAGS = ["-h", "--help"]


def _help_option(command: Any) -> Any:
    """The help option, which click makes when it is asked for and keeps."""
    return command.get_help_option(command.context_class(command, help_option_names=HELP_FLAGS))
