"""The card of a finished run says what the run holds, and no more."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from torch import nn

from ctseg.cli.model_card import write_model_card
from ctseg.errors import InputError
from ctseg.runs import ModelHeader, append_metrics, save_model, write_toml

DATA = {
    "source": {"folder": "pseudo", "slices": 480, "patients": 12, "slices_with_lesion": 406},
    "target": {"folder": "ct", "slices": 134, "patients": 11, "slices_with_lesion": 0},
}
INPUT = {
    "size": [96, 96],
    "intensity": {"a": 2.55, "b": 0.0, "unit": "HU"},
    "preprocess": {"size": 96, "fov_mm": 240.0, "window": [0.0, 100.0], "select": "intraparenchymal"},
    "profile": {"scans": 11, "ranges": {"slice_step_mm": [3.5, 5.0], "brain_cm2": [None, None]}},
}


def make_run(folder, kind="segmenter", command="das-train", settings=None, training=None, brain_hu=None):
    chosen = {
        "selection": "tta_consistency",
        "selected_epoch": 7,
        "epochs": 12,
        "scores": {"source_val": 0.79431, "snd": None},
    }
    header = ModelHeader(
        kind, "fcn", {"width": 16}, "ctseg", "0.1.0",
        {**INPUT, "preprocess": {**INPUT["preprocess"], "brain_hu": brain_hu}},
        {"command": command, "preset": "demo", "seed": 3, "data": DATA, **chosen, **(training or {})},
    )  # fmt: skip
    save_model(folder / "model.safetensors", nn.Linear(1, 1), header)
    write_toml(folder / "config.toml", {"settings": {"lambda_adv": 0.001, **(settings or {})}})
    append_metrics(folder, {"epoch": 0, "audit_contrast": -1.25, "warnings": ["inversion: dark lesions"]})
    return write_model_card(folder)


def test_card_names_data_selection_scores_and_limits(tmp_path):
    text = make_run(tmp_path).read_text()
    for part in (
        "480 slices of 12 patients, 406 with a labelled lesion", "134 slices of 11 patients, masks not used",
        "`tta_consistency`: epoch 7. No CT outline was seen", "| source_val | 0.7943 |",
        "slice label `intraparenchymal`",
        "Accuracy on CT is not known", "Not a medical device", "| slice_step_mm | 3.5 to 5.0 |", "lambda_adv 0.001",
        "- inversion: dark lesions", sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest(),
    ):  # fmt: skip
        assert part in text, part
    assert "snd" not in text.split("Scores of the chosen epoch")[0].split("## What is known")[1]
    assert str(tmp_path) not in text


def test_metadata_has_the_keys_of_a_bundle(tmp_path):
    make_run(tmp_path)
    found = json.loads((tmp_path / "metadata.json").read_text())
    image = found["network_data_format"]["inputs"]["image"]
    assert (image["modality"], image["num_channels"], image["spatial_shape"]) == ("CT", 1, [96, 96])
    assert found["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "haemorrhage"}
    assert found["eval_metrics"] == {"source_val": 0.7943}
    wanted = {"version", "task", "data_source", "intended_use", "pytorch_version", "numpy_version", "references"}
    assert wanted <= found.keys()
    assert found["weights_sha256"] == sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(("kind", "side"), [("segmenter", "inputs"), ("generator", "outputs")])
def test_greys_that_are_relative_to_the_brain_are_not_called_hu(tmp_path, kind, side):
    command = {"segmenter": "das-train", "generator": "synth-train"}[kind]
    said = {}
    for brain_hu in (None, 31.0):
        card = make_run(tmp_path / str(brain_hu), kind, command, brain_hu=brain_hu).read_text()
        image = json.loads((tmp_path / str(brain_hu) / "metadata.json").read_text())["network_data_format"][side]
        said[brain_hu] = (*image.values(),)[0]["grey_of_hu"], "0 to 100 HU, skull stripped" in card
    assert said[None] == ({"a": 2.55, "b": 0.0, "unit": "HU"}, True)
    (relative, absolute), brain = said[31.0], "median brain moved to 31 HU"
    assert relative == {"a": 2.55, "b": pytest.approx(2.55 * 31), "unit": "HU above the median HU of the scan's brain"}
    assert not absolute
    assert brain in card


def test_a_generators_card_shows_its_audit(tmp_path):
    text = make_run(tmp_path, "generator", "synth-train").read_text()
    assert "| audit_contrast | -1.25 |" in text
    assert "source_val" not in text
    image = json.loads((tmp_path / "metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    assert image["modality"] == "MR"


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("finetune", {}, "`ctseg finetune` may learn from CT outlines"),
    ],
)
def test_a_run_that_may_have_seen_ct_outlines_does_not_deny_it(tmp_path, command, settings, said):
    text = make_run(tmp_path, command=command, settings=settings).read_text()
    assert said in text
    assert "No CT outline was seen" not in text


def test_an_unfinished_run_has_no_card(tmp_path):
    with pytest.raises(InputError, match="no model"):
        write_model_card(tmp_path)
