from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctseg.errors import InputError, PluginError, SettingError, TrainingError
from ctseg.io.slices import SliceSet
from ctseg.matching.pairs import PairTable
from ctseg.networks.blocks import seeded
from ctseg.networks.intensity import to_images, to_masks
from ctseg.networks.resnet_generator import ResnetGenerator
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.runs import ModelHeader, load_model, read_metrics
from ctseg.synthesis.train import flip, train_synthesis
from ctseg.training.device import make_fabric

Make = Callable[..., Any]
Toy = tuple[SliceSet, SliceSet]


@pytest.fixture
def train(toy: Toy, tmp_path: Path, make_settings: Make, make_generator: Make) -> Make:
    """Train on the toy in the test's folder, with changes to the settings or to arguments of `train_synthesis`."""

    def call(**changes: Any) -> dict[str, Any]:
        run = tmp_path / changes.pop("run", "run")
        run.mkdir(exist_ok=True)
        given = {"resume": False, "progress": None, "pairs": None, "source": toy[0], "target": toy[1]}
        given |= {key: changes.pop(key) for key in list(changes) if key in given}
        generator = changes.pop("generator", None) or make_generator()
        header = ModelHeader("generator", "toy", {}, "tests", "0", training={"preset": "none"})
        return train_synthesis(
            settings=make_settings(**changes), generator=generator, run=run, fabric=make_fabric("cpu", "32"), seed=5,
            header=header, **given,
        )  # fmt: skip

    return call


def stop_at(step: int) -> Callable[[int, int | None, str], None]:
    def progress(done: int, total: int | None, note: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


class TestRun:
    @pytest.mark.slow
    def test_what_a_run_leaves(self, train: Make, tmp_path: Path, make_generator: Make) -> None:
        generator = make_generator()
        summary = train(generator=generator, decay_epochs=1, sample_every=2)
        rows = read_metrics(tmp_path / "run")
        assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
        assert [row["lr_factor"] for row in rows] == [1, 1, 1, 0.5]
        assert summary["steps"] == 12
        assert summary["last"] == rows[-1]
        assert {"generator", "cycle", "lesion", "features", "d_ct", "s_ori", "audit_dice_s_ori", "warnings"} <= set(
            rows[0]
        )
        assert sorted(p.name for p in (tmp_path / "run" / "samples").iterdir()) == ["epoch_0002.png", "epoch_0004.png"]
        assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
        loaded, header = load_model(tmp_path / "run", lambda _: make_generator(seed=9), "generator")
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), generator.parameters(), strict=True))
        assert header.training["preset"] == "none"
        assert header.training["source_slices"] == 8
        assert header.training["selection"] == "last epoch"

    @pytest.mark.slow
    def test_resumed_in_mid_epoch_equals_uninterrupted_bit_for_bit(self, train: Make, tmp_path: Path) -> None:
        settings = {"flip": True, "image_pool": 3, "decay_epochs": 1}
        train(run="whole", **settings)
        with pytest.raises(KeyboardInterrupt):
            train(run="stopped", progress=stop_at(5), **settings)
        assert not (tmp_path / "stopped" / "model.safetensors").exists()
        train(run="stopped", resume=True, **settings)
        states = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "stopped")]
        torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)
        logs = [[{**row, "seconds": 0} for row in read_metrics(tmp_path / run)] for run in ("whole", "stopped")]
        assert logs[0] == logs[1]

    @pytest.mark.slow
    def test_resuming_a_finished_run_changes_nothing(self, train: Make, tmp_path: Path) -> None:
        train()
        weights = (tmp_path / "run" / "model.safetensors").read_bytes()
        train(resume=True)
        assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights

    @pytest.mark.slow
    def test_another_seed_or_step_order_would_show(self, train: Make, tmp_path: Path) -> None:
        train(run="plain")
        train(run="flipped", flip=True)
        files = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("plain", "flipped")]
        assert files[0] != files[1]

    @pytest.mark.slow
    def test_the_cycle_is_learned(self, train: Make, tmp_path: Path) -> None:
        settings = {"epochs": 6, "steps_per_epoch": 12, "lambda_gan": 0.1, "lr_generator": 3e-3, "sample_every": 100}
        train(**settings)
        rows = read_metrics(tmp_path / "run")
        assert rows[-1]["cycle"] < 0.5 * rows[0]["cycle"]


class TestStops:
    def test_a_loss_that_is_not_finite(self, train: Make, tmp_path: Path, make_generator: Make) -> None:
        generator = make_generator()
        with torch.no_grad():
            generator.fusion.join[0].weight[0] = math.nan
        with pytest.raises(TrainingError, match=r"epoch 1, step 1; lower the learning rate"):
            train(generator=generator)
        assert not (tmp_path / "run" / "checkpoint.pt").exists()

    @pytest.mark.slow
    def test_it_leaves_the_checkpoint_before_it(self, train: Make, tmp_path: Path, make_generator: Make) -> None:
        generator = make_generator()

        def spoil(done: int, total: int | None, note: str) -> None:
            if done == 5:
                with torch.no_grad():
                    next(generator.parameters()).fill_(math.inf)

        with pytest.raises(TrainingError, match="epoch 2"):
            train(generator=generator, progress=spoil)
        state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
        assert state["epoch"] == 1
        assert all(value.isfinite().all() for value in state["generator"].values())


class TestInputs:
    def test_matching_needs_pairs(self, train: Make) -> None:
        with pytest.raises(SettingError, match="--set matched=false"):
            train(matched=True)

    def test_lesion_consistency_needs_masks(self, train: Make, toy: Toy) -> None:
        plain = SliceSet(toy[0].folder, toy[0].images, None, toy[0].table, toy[0].info)
        with pytest.raises(InputError, match="lambda_les=0"):
            train(source=plain)
        train(source=plain, lambda_les=0.0, epochs=1)

    def test_an_unknown_split(self, train: Make) -> None:
        with pytest.raises(InputError, match="no slice in split 'nowhere'"):
            train(source_split="nowhere")

    @pytest.mark.slow
    def test_the_targets_masks_are_never_read(self, train: Make, toy: Toy) -> None:
        class Untouchable:
            def __getattr__(self, name: str) -> None:
                raise AssertionError(f"the CT masks were touched: {name}")

            __getitem__ = __len__ = __array__ = __getattr__

        target = SliceSet(toy[1].folder, toy[1].images, Untouchable(), toy[1].table, toy[1].info)  # type: ignore[arg-type]
        train(target=target, epochs=1)


class Recorder(nn.Module):
    """A one-way generator with an objective of its own that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))
        self.seen: list[Batch] = []
        self.factors: list[float] = []

    def to_target(self, images: Tensor) -> Tensor:
        return images + self.shift

    def to_source(self, images: Tensor) -> Tensor:
        raise PluginError("one way only")

    def objective(self, context: ObjectiveContext) -> Recorder:
        self.optimiser = torch.optim.SGD(self.parameters(), 0.5)
        return self

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.seen.append(batch)
        self.optimiser.zero_grad()
        loss = (self.to_target(batch.source).mean() - batch.target.mean()).square()
        loss.backward()
        self.optimiser.step()
        return {"own": loss.detach()}

    def set_lr_factor(self, factor: float) -> None:
        self.factors.append(factor)


class TestOwnObjective:
    @pytest.mark.slow
    def test_the_same_loop_trains_it(self, train: Make, tmp_path: Path) -> None:
        generator = Recorder()
        train(generator=generator, epochs=4)
        rows = read_metrics(tmp_path / "run")
        assert rows[-1]["own"] < rows[0]["own"]
        assert generator.factors == [1.0] * 4
        assert "audit_dice_s_ori" not in rows[0]
        assert (tmp_path / "run" / "samples" / "epoch_0004.png").exists()

    def test_batches_hold_matched_slices_in_network_range(self, train: Make, toy: Toy) -> None:
        source, target = toy
        rows = np.arange(4, 12)
        pairs = PairTable(rows, np.arange(9) * 2, np.stack([rows, 15 - rows], axis=1).ravel())
        generator = Recorder()
        train(generator=generator, pairs=pairs, matched=True, pairs_top=1, epochs=1, steps_per_epoch=4)
        seen = [
            (image, mask, ct)
            for batch in generator.seen
            for image, mask, ct in zip(batch.source, batch.source_mask, batch.target, strict=True)
        ]
        for image, mask, ct in seen:
            row = next(r for r in rows if torch.equal(image, to_images(source.images[r : r + 1])[0]))
            assert torch.equal(mask, to_masks(source.masks[row : row + 1])[0])
            assert torch.equal(ct, to_images(target.images[row : row + 1])[0])
        assert len(seen) == 8


def test_table_2s_cyclegan_row_trains(train: Make) -> None:
    with seeded(0):
        generator = ResnetGenerator(width=4, blocks=1)
    summary = train(generator=generator, lambda_les=0.0, lambda_fda=0.0, epochs=1)
    assert {"s_ori", "d_fusion", "features"}.isdisjoint(summary["last"])
    assert json.dumps(summary)


def test_flip_mirrors_the_chosen_left_right() -> None:
    images = torch.arange(8.0).reshape(2, 1, 2, 2)
    assert flip(images, [False, True])[:, 0].tolist() == [[[0, 1], [2, 3]], [[5, 4], [7, 6]]]
