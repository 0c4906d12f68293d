"""Run folders: weights and headers come back, and broken ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ctseg.checkpoints import load_checkpoint, save_checkpoint
from ctseg.errors import InputError, OutputExistsError
from ctseg.runs import (
    ModelHeader,
    append_metrics,
    load_model,
    read_header,
    read_metrics,
    rewind_metrics,
    save_model,
    start_run,
)

HEADER = ModelHeader("segmenter", "tiny", {"width": 3}, "ctseg", "0.1", {"size": [8, 8]}, {"seed": 1})


def build(header: ModelHeader) -> nn.Module:
    return nn.Conv2d(1, header.settings["width"], 3)


def test_a_model_is_rebuilt_from_its_file_alone(tmp_path: Path) -> None:
    module = build(HEADER)
    save_model(tmp_path / "model.safetensors", module, HEADER)
    assert read_header(tmp_path) == HEADER
    again, header = load_model(tmp_path, build, "segmenter")
    assert header == HEADER
    assert not again.training
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, b"\x10\0\0\0\0\0\0\0notjsonnotjson!!"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: not a safetensors file"):
        read_header(tmp_path)


def test_wrong_kind_unfinished_and_foreign_runs_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model\.safetensors here"):
        read_header(tmp_path)
    save_checkpoint(tmp_path, {"epoch": 1})
    with pytest.raises(InputError, match="not finished; continue it with --resume"):
        read_header(tmp_path)
    save_model(tmp_path / "model.safetensors", build(HEADER), HEADER)
    with pytest.raises(InputError, match="holds a segmenter, expected a generator; it belongs to `ctseg segment`"):
        load_model(tmp_path, build, "generator")
    with pytest.raises(InputError, match="weights do not fit 'tiny'"):
        load_model(tmp_path, lambda header: nn.Conv2d(1, 5, 3), "segmenter")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="not a ctseg model"):
        read_header(tmp_path)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('code ran')",))

    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="broken checkpoint"):
        load_checkpoint(tmp_path)
    torch.save({"evil": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="broken checkpoint"):
        load_checkpoint(tmp_path)


def test_a_run_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert start_run(run, {"seed": 1, "none": None}, overwrite=False, resume=False) is False
    with pytest.raises(OutputExistsError, match="--resume.*--overwrite"):
        start_run(run, {"seed": 1}, overwrite=False, resume=False)
    assert start_run(run, {"seed": 1}, overwrite=False, resume=True) is False
    save_checkpoint(run, {"epoch": 1})
    assert start_run(run, {"seed": 1}, overwrite=False, resume=True) is True
    with pytest.raises(InputError, match="other settings .seed differs"):
        start_run(run, {"seed": 2}, overwrite=False, resume=True)
    (run / "notes.txt").write_text("mine")
    assert start_run(run, {"seed": 2}, overwrite=True, resume=False) is False
    assert not (run / "checkpoint.pt").exists()
    assert (run / "notes.txt").exists()


def test_metrics_survive_a_cut_line_and_rewind(tmp_path: Path) -> None:
    for epoch in range(3):
        append_metrics(tmp_path, {"epoch": epoch})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [0, 1, 2]
    rewind_metrics(tmp_path, 1)
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [0]
