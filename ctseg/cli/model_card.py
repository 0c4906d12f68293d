"""`model-card.md` and `metadata.json` of a finished run: what it was trained on, how it was chosen, what it is for.

Sections after Mitchell et al., Model Cards for Model Reporting (FAT* 2019); the JSON uses the keys of MONAI bundles'
`metadata.json` where they fit. It states only what the run itself holds, and the losses in use: a run does not
know how good its model is on CT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.harmless import markdown_row, markdown_text
from ctseg.models.info import METADATA, RUN_DIGEST

if TYPE_CHECKING:
    from ctseg.runs import ModelHeader

CARD = "model-card.md"
TASKS = {
    "segmenter": "Segment haemorrhage on head CT, slice by slice",
    "generator": "Turn labelled brain MR slices into pseudo-CT slices to train a segmenter with",
}
INTENDED = {
    "segmenter": "Research on head CT of adults, with a person who looks at every segmentation. Not a medical device: "
    "not for diagnosis, triage or treatment.",
    "generator": "Making training slices. The pictures are no CT of anybody: not for diagnosis, dose or measurement.",
}
LIMITS = {
    "segmenter": (
        "Which finding it segments was decided by the target slices that were chosen for training; it may segment any "
        "other bright blood, calcium, vessel or sinus, and miss old, dark or thin bleeds.",
        "Nothing is segmented outside the brain mask: films of blood thinner than 2 mm on the bone are lost there.",
        "Scans out of distribution (by the profile below) are flagged by `ctseg segment`; no flag is no assurance.",
        "Children, contrast media, surgery and metal are not covered unless the training data include them.",
    ),
    "generator": (
        "It can hide or invent lesions; look at the samples and the lesion audit.",
        "It was trained towards the target slices of this run; another scanner or selection needs another run.",
    ),
}
LICENCE = (
    "The software is under Apache-2.0. The weights carry no licence of their own: what may be done with them depends "
    "on the terms of the data above."
)
LABEL_FREE = ("synth-train", "das-train")
"""Commands that never read a CT outline."""
REFERENCES = (
    "Dong, Fu, Li, Pei, Chen, An unsupervised domain adaptation brain CT segmentation method across image modalities "
    "and diseases (AMD-DAS)",
)


def write_model_card(run: Path) -> Path:
    """Write `RUN/model-card.md` and `RUN/metadata.json` from what a finished training left; returns the card's path.

    Raises:
        InputError: if the run is unfinished or broken.
    """
    from ctseg.files import read_toml, write_json, write_text
    from ctseg.io.input_digests import file_sha256
    from ctseg.runs import model_path, read_header, read_metrics

    run = Path(run)
    header, metrics = read_header(run), read_metrics(run)
    settings = read_toml(run / "config.toml").get("settings", {})
    digest = file_sha256(model_path(run))
    write_json(run / METADATA, {**metadata(header, scores(header, metrics)), RUN_DIGEST: digest})
    return write_text(run / CARD, card(header, metrics, settings, digest))


def card(header: ModelHeader, metrics: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], digest: str) -> str:
    """The card as Markdown; `digest` is the weights' SHA-256."""
    training = header.training
    name, preset = markdown_text(header.name), markdown_text(training.get("preset"))
    parts = [
        f"# {header.kind.capitalize()} `{name}`, preset `{preset}`",
        f"{TASKS[header.kind]}. Research use only.",
        _section("Model", _model_rows(header, settings, digest)),
        _section("Training data", _data_rows(header), "Folder names and counts as recorded; no patient is named."),
        _section("How the weights were chosen", [["Rule", _chosen(training)]]),
        _section("What is known of its quality", scores(header, metrics).items(), _quality(header.kind)),
        _warnings(metrics),
        f"## Intended use\n\n{INTENDED[header.kind]}",
        "## Limits\n\n" + "\n".join(f"- {text}" for text in LIMITS[header.kind]),
        _section("Training scans", _profile_rows(header.input.get("profile") or {}))
        if header.kind == "segmenter"
        else "",
        f"## Licence\n\n{LICENCE}",
        "## References\n\n" + "\n".join(f"- {text}" for text in REFERENCES),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def scores(header: ModelHeader, metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The label-free scores of a segmenter's chosen epoch, or the lesion audit of a generator's last one."""
    found: Mapping[str, Any] = header.training.get("scores") or {}
    if header.kind == "generator" and metrics:
        found = {name: value for name, value in metrics[-1].items() if name.startswith("audit_")}
    return {name: round(float(value), 4) for name, value in found.items() if isinstance(value, (int, float))}


def metadata(header: ModelHeader, eval_metrics: Mapping[str, float]) -> dict[str, Any]:
    """Keys of a MONAI bundle's `metadata.json` that say something of this model."""
    from importlib.metadata import version

    data = header.training.get("data", {})
    return {
        "version": header.package_version,
        "name": f"{header.kind} {header.name}",
        "task": TASKS[header.kind],
        "description": f"{header.package} {header.package_version}, trained by {header.tool}",
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {header.package: header.package_version},
        "data_source": "; ".join(
            _counted(name, data[name], header.training) for name in ("source", "target") if name in data
        ),
        "data_type": "slice sets of ctseg preprocess",
        "image_classes": "one channel, skull-stripped axial slice",
        "label_classes": "1: lesion of the source labels",
        "pred_classes": "1: haemorrhage" if header.kind == "segmenter" else "pseudo-CT",
        "eval_metrics": dict(eval_metrics),
        "intended_use": INTENDED[header.kind],
        "references": list(REFERENCES),
        "network_data_format": _data_format(header),
        "research_use_only": True,
    }


def _data_format(header: ModelHeader) -> dict[str, Any]:
    intensity, size = header.input.get("intensity") or {}, header.input.get("size")
    image = {
        "type": "image", "num_channels": 1, "spatial_shape": size, "dtype": "float32", "value_range": [-1, 1],
        "is_patch_data": False,
    }  # fmt: skip
    greys = _greys(intensity, header.input.get("preprocess") or {})
    ct = {**image, "format": "hounsfield", "modality": "CT", "grey_of_hu": greys, "channel_def": {"0": "CT"}}
    if header.kind == "generator":
        mr = {**image, "format": "magnitude", "modality": "MR", "channel_def": {"0": "MR"}}
        return {"inputs": {"image": mr}, "outputs": {"pred": ct}}
    logits = {
        "type": "image", "format": "logits", "num_channels": 1, "spatial_shape": size, "dtype": "float32",
        "channel_def": {"0": "haemorrhage"},
    }  # fmt: skip
    return {"inputs": {"image": ct}, "outputs": {"pred": logits}}


def _greys(intensity: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Grey values of CT as `a * x + b`: x is HU, or with `brain_hu` HU above the median of the scan's own brain."""
    from ctseg.io.slices import brain_hu_of

    brain = brain_hu_of(made, intensity)
    if brain is None or not intensity.get("a"):
        return dict(intensity)
    offset = float(intensity.get("b", 0)) + float(intensity["a"]) * brain
    return {**intensity, "b": offset, "unit": "HU above the median HU of the scan's brain"}


def _section(title: str, rows: Any, note: str = "") -> str:
    lines = [markdown_row(row) for row in rows]
    table = "\n".join(["| | |", "|---|---|", *lines]) if lines else ""
    return "\n\n".join(part for part in (f"## {title}", table, note) if part)


def _model_rows(header: ModelHeader, settings: Mapping[str, Any], digest: str) -> list[list[Any]]:
    made = header.input.get("preprocess") or {}
    rows = [
        ["Plugin", f"`{header.name}` of {header.package} {header.package_version}, {_pairs(header.settings)}"],
        ["Weights", f"`model.safetensors`, SHA-256 `{digest}`"],
        ["Trained by", f"{header.tool}, `ctseg {header.training.get('command')}`, seed {header.training.get('seed')}"],
        ["First weights", _first_weights(header.training)],
        ["Epochs, steps", f"{header.training.get('epochs')}, {header.training.get('steps')}"],
        *_averaged(header.training),
        *_normalised(header.training),
    ]
    if "size" in made:
        window = " to ".join(f"{value:g}" for value in made.get("window", (0, 100)))
        from ctseg.io.slices import brain_hu_of

        brain = brain_hu_of(made)
        moved = "" if brain is None else f" with each scan's median brain moved to {brain:g} HU"
        rows.append(
            ["Slices", f"{made['size']} pixels over {made.get('fov_mm')} mm, {window} HU{moved}, skull stripped"]
        )
    losses = {name: value for name, value in settings.items() if name.startswith("lambda_") or name == "loss"}
    weights = {name: value for name, value in losses.items() if value != 0}
    return [*rows, ["Losses", _pairs(weights)], ["All settings", "`config.toml`"]]


def _averaged(training: Mapping[str, Any]) -> list[list[str]]:
    """A row where the weights are a mean over the training's steps."""
    decay = training.get("weight_average")
    return [["Weights kept", f"the running mean of the training's weights, decay {decay:g} per step"]] if decay else []


def _normalised(training: Mapping[str, Any]) -> list[list[str]]:
    """A row where the source's images were normalised otherwise than CT."""
    if "source_mean" not in training:
        return []
    said = f"in training, minus {training['source_mean']:g} over {training['source_std']:g}, of images in [0, 1]"
    return [["Source images", said]]


def _first_weights(training: Mapping[str, Any]) -> str:
    origin = training.get("from")
    if origin in (None, "nothing"):
        return "random"
    made_by = training.get("from_command")
    return f"{origin} (SHA-256)" + (f", a run of `ctseg {made_by}`" if made_by else "")


def _data_rows(header: ModelHeader) -> list[list[str]]:
    data = header.training.get("data", {})
    rows = [[name, _counted(name, data[name], header.training)] for name in ("source", "target") if name in data]
    used = [
        f"{header.training[key]} {key.split('_')[0]}"
        for key in ("source_slices", "target_slices")
        if key in header.training
    ]
    select = (header.input.get("preprocess") or {}).get("select")
    chosen = [["target slices chosen by", f"slice label `{select}`"]] if select else []
    return [*rows, ["slices trained on", ", ".join(used)], *chosen]


def is_one_set(training: Mapping[str, Any]) -> bool:
    """Whether source and target were the same slices, so that the target's masks were seen as the source's."""
    inputs = training.get("inputs")
    return isinstance(inputs, Mapping) and inputs.get("source") is not None and inputs["source"] == inputs.get("target")


def _counted(name: str, data: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    labels = f", {data.get('slices_with_lesion')} with a labelled lesion"
    if name == "target":
        labels = ", the source itself, whose masks were learnt from" if is_one_set(training) else ", masks not used"
    return f"`{data.get('folder')}`: {data.get('slices')} slices of {data.get('patients')} patients{labels}"


def _chosen(training: Mapping[str, Any]) -> str:
    epoch = training.get("selected_epoch", training.get("epochs"))
    if training.get("command") not in LABEL_FREE:
        seen = f"`ctseg {training.get('command')}` may learn from CT outlines; see `config.toml`."
    elif training.get("ct_labels"):
        seen = "CT outlines were learnt from, in this run or in the weights it started from: it is not unsupervised."
    else:
        seen = "No CT outline was seen in training or selection: what a lesion looks like was learnt from the source."
    return f"`{training.get('selection')}`: epoch {epoch}. {seen}"


def _quality(kind: str) -> str:
    if kind == "generator":
        return (
            "The audit of the last epoch (docs/method-synthesis.md). How well a segmenter learns from it is not known."
        )
    return (
        "Scores of the chosen epoch that need no CT label (docs/selection.md); `source_val` is Dice on the source, the "
        "others are no accuracy. **Accuracy on CT is not known to this run**: measure it with `ctseg segment` and "
        "`ctseg evaluate` on labelled CT, and put summary.json beside this card."
    )


def _warnings(metrics: Sequence[Mapping[str, Any]]) -> str:
    texts = list(dict.fromkeys(text for row in metrics for text in row.get("warnings", [])))
    return "## Warnings while training\n\n" + "\n".join(f"- {markdown_text(text)}" for text in texts) if texts else ""


def _profile_rows(profile: Mapping[str, Any]) -> list[list[str]]:
    if not profile:
        return [["profile", "none: fewer than five scans, or trained before there were profiles"]]
    rows = [[name, f"{low} to {high}"] for name, (low, high) in profile["ranges"].items() if low is not None]
    return [["scans looked at", str(profile["scans"])], *rows]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "default settings"
