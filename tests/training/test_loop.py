from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ctseg.errors import InputError, SettingError, TrainingError
from ctseg.networks.intensity import to_images, to_masks, to_uint8
from ctseg.runs import read_metrics
from ctseg.training.device import make_fabric
from ctseg.training.loop import (
    CHECK_EVERY,
    EpochLoop,
    LossMeter,
    Ticker,
    check_finite,
    check_weights,
    lr_factor,
    run_epochs,
    set_lr_factor,
    steps_of,
)
from ctseg.training.sampling import SliceSampler, step_rng


class TestFabric:
    def test_cpu_in_full_precision(self) -> None:
        fabric = make_fabric("cpu", "32")
        with fabric.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert fabric.device.type == "cpu"
        assert product.dtype == torch.float32

    def test_bf16_is_mixed(self) -> None:
        with make_fabric("cpu", "bf16").autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == torch.bfloat16

    def test_seed_draws_the_same_first_weights(self) -> None:
        make_fabric("cpu", "32", seed=3)
        first = nn.Linear(2, 2).weight
        make_fabric("cpu", "32", seed=3)
        assert torch.equal(first, nn.Linear(2, 2).weight)

    @pytest.mark.parametrize("device", ["tpu", "cpu:1", "cuda:x", "auto:0", ""])
    def test_unknown_device(self, device: str) -> None:
        with pytest.raises(SettingError, match="use auto, cpu, cuda"):
            make_fabric(device)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_absent_device(self) -> None:
        with pytest.raises(SettingError, match="not on this machine"):
            make_fabric("cuda")

    def test_unknown_precision(self) -> None:
        with pytest.raises(SettingError, match="--precision 8"):
            make_fabric("cpu", "8")


class TestImages:
    def test_range_and_background(self) -> None:
        images = to_images(np.array([[[0, 255, 51]]], dtype=np.uint8))
        assert images.shape == (1, 1, 1, 3)
        assert images.tolist() == [[[[-1.0, 1.0, pytest.approx(-0.6)]]]]

    def test_every_grey_value_comes_back(self) -> None:
        slices = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
        assert np.array_equal(to_uint8(to_images(slices)), slices)

    def test_masks_keep_0_and_1(self) -> None:
        assert to_masks(np.array([[[0, 1]]], dtype=np.uint8)).tolist() == [[[[0.0, 1.0]]]]


class TestSampler:
    def sampler(self, **changes: Any) -> SliceSampler:
        settings = {"batch_size": 2, "seed": 7, **changes}
        return SliceSampler(np.array([2, 3, 5, 7, 11]), np.array([20, 21, 22, 23]), **settings)

    def test_every_source_comes_once_and_the_last_batch_is_filled(self) -> None:
        source, target = self.sampler().draws(0)
        assert source.shape == target.shape == (3, 2)
        assert sorted(source.ravel()[:5]) == [2, 3, 5, 7, 11]
        assert set(target.ravel()) <= {20, 21, 22, 23}

    def test_a_draw_depends_on_seed_epoch_and_step_alone(self) -> None:
        first, again = self.sampler(), self.sampler()
        first.draws(0)
        assert all(np.array_equal(a, b) for a, b in zip(first.draw(4, 1), again.draw(4, 1), strict=True))
        assert not np.array_equal(first.draws(0)[0], first.draws(1)[0])
        assert not np.array_equal(first.draws(0)[0], self.sampler(seed=8).draws(0)[0])

    def test_targets_come_from_the_candidates_of_their_source(self) -> None:
        allowed = {2: [20, 21], 3: [22], 5: [23, 99], 7: [20], 11: [21]}
        sampler = self.sampler(candidates=lambda row: np.array(allowed[row]), steps_per_epoch=50)
        source, target = (rows.ravel() for rows in sampler.draws(0))
        assert all(t in allowed[s] for s, t in zip(source, target, strict=True))
        assert 99 not in target
        assert {20, 21} <= set(target[source == 2])

    def test_a_source_without_candidates_is_an_error(self) -> None:
        with pytest.raises(InputError, match=r"1 of 5 source slices .* row 3"):
            self.sampler(candidates=lambda row: np.array([99 if row == 3 else 20]))

    def test_processes_share_the_batches_of_one(self) -> None:
        whole = self.sampler(batch_size=2, steps_per_epoch=4).draws(1)[0]
        parts = [self.sampler(batch_size=1, steps_per_epoch=4, rank=r, world=2).draws(1)[0] for r in (0, 1)]
        assert np.array_equal(np.concatenate(parts, axis=1), whole)

    def test_a_share_of_each_batch_shows_a_lesion_and_none_comes_again_before_all_came(self) -> None:
        lesions = np.array([False, True, False, False, True])
        sampler = self.sampler(batch_size=3, steps_per_epoch=3, lesion_share=0.67, lesions=lesions)
        source, target = sampler.draws(0)
        with_lesion = np.isin(source, [3, 11])
        assert with_lesion.sum(axis=1).tolist() == [2, 2, 2]
        assert sorted(source[~with_lesion]) == [2, 5, 7]
        assert np.bincount(source[with_lesion]).max() == 3
        assert target.shape == source.shape
        assert not np.array_equal(with_lesion[0], with_lesion[1]) or not np.array_equal(with_lesion[0], with_lesion[2])

    @pytest.mark.parametrize(("share", "rows"), [(1.0, {3, 11}), (0.01, {2, 3, 5, 7, 11})])
    def test_any_share_above_0_puts_a_lesion_into_each_batch(self, share: float, rows: set[int]) -> None:
        lesions = np.array([False, True, False, False, True])
        source = self.sampler(steps_per_epoch=9, lesion_share=share, lesions=lesions).draws(0)[0]
        assert set(source.ravel()) == rows
        assert np.isin(source, [3, 11]).any(axis=1).all()

    def test_where_every_slice_shows_a_lesion_a_share_changes_no_set_of_slices(self) -> None:
        source = self.sampler(lesion_share=0.5, lesions=np.ones(5, dtype=bool)).draws(0)[0]
        assert set(source.ravel()) == {2, 3, 5, 7, 11}

    def test_a_share_of_lesions_without_any_lesion_is_an_error(self) -> None:
        with pytest.raises(InputError, match=r"lesion_share=0\.5: none of 5 source slices shows a lesion"):
            self.sampler(lesion_share=0.5, lesions=np.zeros(5, dtype=bool))

    def test_processes_share_the_lesions_of_one(self) -> None:
        lesions = {"lesion_share": 0.5, "lesions": np.array([False, True, False, False, True]), "steps_per_epoch": 4}
        whole = self.sampler(batch_size=2, **lesions).draws(1)[0]
        parts = [self.sampler(batch_size=1, rank=r, world=2, **lesions).draws(1)[0] for r in (0, 1)]
        assert np.array_equal(np.concatenate(parts, axis=1), whole)

    def test_step_numbers_differ_by_step(self) -> None:
        assert step_rng(0, 1, 2).random() == step_rng(0, 1, 2).random()
        assert step_rng(0, 1, 2).random() != step_rng(0, 1, 3).random()


def test_lr_factor_is_constant_then_falls_linearly() -> None:
    assert [lr_factor(epoch, 2, 3) for epoch in range(5)] == [1.0, 1.0, 0.75, 0.5, 0.25]
    assert lr_factor(9, 10, 0) == 1.0


def test_lr_factor_is_of_the_base_rate_each_time() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.4)
    set_lr_factor([optimiser], 0.5)
    set_lr_factor([optimiser], 0.25)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1)


class TestFinite:
    def test_names_loss_and_place(self) -> None:
        with pytest.raises(TrainingError, match=r"generator is nan at epoch 3, step 17; lower the learning rate"):
            check_finite({"d_ct": 1.0, "generator": math.nan}, "epoch 3, step 17")

    @pytest.mark.parametrize("name", ["d_ct", "d_fusion", "discriminator", "discriminator_output"])
    def test_where_an_adversary_is_trained_its_rate_is_named_whatever_broke_first(self, name: str) -> None:
        with pytest.raises(TrainingError, match=r"lower the learning rate, the adversary's first \(--set lr_discrim"):
            check_finite({"segmentation": math.nan, name: math.nan}, "epoch 1, step 24")

    def test_without_an_adversary_none_is_named(self) -> None:
        with pytest.raises(TrainingError) as found:
            check_finite({"segmentation": math.inf}, "epoch 1, step 24")
        assert "adversary" not in str(found.value)

    def test_finite_losses_pass(self) -> None:
        check_finite({"d_ct": 1e30}, "anywhere")

    def test_weights(self) -> None:
        net = nn.Linear(2, 1)
        check_weights({"net": net}, "epoch 1")
        with torch.no_grad():
            net.weight[0, 1] = math.inf
        with pytest.raises(TrainingError, match="weight of net"):
            check_weights({"net": net}, "epoch 1")

    def test_statistics_of_batch_norm_that_overflow_where_every_parameter_is_finite(self) -> None:
        net = nn.BatchNorm1d(1, affine=False).train()
        for value in (1e18, 1e19, 1e20):
            output = net(torch.tensor([[value], [-value]]))
        assert output.isfinite().all()
        assert not net.running_var.isfinite().all()
        with pytest.raises(TrainingError, match="weight running_var of net is nan at epoch 1; lower the learning rate"):
            check_weights({"net": net}, "epoch 1")

    def test_meter_finds_the_step(self) -> None:
        meter = LossMeter(epoch=2)
        for step in range(CHECK_EVERY - 1):
            meter.add({"loss": torch.tensor(math.nan if step >= 3 else 1.0)})
        with pytest.raises(TrainingError, match=r"epoch 3, step 4"):
            meter.add({"loss": torch.tensor(1.0)})

    def test_meter_means(self) -> None:
        meter = LossMeter(epoch=0)
        for value in range(CHECK_EVERY + 3):
            meter.add({"loss": torch.tensor(float(value))})
        assert meter.means() == {"loss": pytest.approx((CHECK_EVERY + 2) / 2)}


class Walk:
    """The smallest training: a weight that takes a random step of torch's generator each epoch."""

    def __init__(self, run: Path, epochs: int, fail_at: int | None = None, **changes: Any) -> None:
        self.net, self.fail_at = nn.Linear(1, 1, bias=False), fail_at
        nn.init.zeros_(self.net.weight)
        self.loop = EpochLoop(
            run, epochs, self.train, lambda: {"net": self.net.state_dict()},
            lambda state: self.net.load_state_dict(state["net"]), {"net": self.net}, **changes,
        )  # fmt: skip

    def train(self, epoch: int) -> dict[str, Any]:
        with torch.no_grad():
            self.net.weight += torch.rand(1)
        if epoch == self.fail_at:
            raise KeyboardInterrupt
        return {"weight": self.net.weight.item()}


class TestEpochs:
    @pytest.mark.parametrize(("every", "written"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5])])
    def test_checkpoints_are_written_after_every_few_epochs_and_the_last(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, written: list[int]
    ) -> None:
        epochs: list[int] = []
        monkeypatch.setattr("ctseg.training.loop.save_checkpoint", lambda run, state: epochs.append(state["epoch"]))
        run_epochs(Walk(tmp_path, 5, checkpoint_every=every).loop, resume=False)
        assert epochs == written

    def test_resumed_equals_uninterrupted(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        whole = run_epochs(Walk(tmp_path / "a", 4).loop, resume=False)
        with pytest.raises(KeyboardInterrupt):
            run_epochs(Walk(tmp_path / "b", 4, fail_at=2).loop, resume=False)
        resumed = run_epochs(Walk(tmp_path / "b", 4).loop, resume=True)
        assert [row["weight"] for row in resumed] == [row["weight"] for row in whole]
        assert [row["epoch"] for row in resumed] == [0, 1, 2, 3]

    def test_rows_after_the_last_checkpoint_are_dropped(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            run_epochs(Walk(tmp_path, 6, fail_at=3, checkpoint_every=2).loop, resume=False)
        assert len(read_metrics(tmp_path)) == 3
        rows = run_epochs(Walk(tmp_path, 6, checkpoint_every=2).loop, resume=True)
        assert [row["epoch"] for row in rows] == list(range(6))

    def test_the_callers_random_numbers_are_left_alone(self, tmp_path: Path) -> None:
        walk = Walk(tmp_path, 2)
        torch.manual_seed(1)
        expected = torch.rand(1)
        torch.manual_seed(1)
        run_epochs(walk.loop, resume=False)
        assert torch.equal(torch.rand(1), expected)

    def test_bad_weights_reach_no_checkpoint(self, tmp_path: Path) -> None:
        walk = Walk(tmp_path, 2)
        with torch.no_grad():
            walk.net.weight.fill_(math.nan)
        with pytest.raises(TrainingError, match="epoch 1"):
            run_epochs(walk.loop, resume=False)
        assert not (tmp_path / "checkpoint.pt").exists()

    def test_a_process_that_does_not_write_leaves_nothing(self, tmp_path: Path) -> None:
        run_epochs(Walk(tmp_path, 1, writes=False).loop, resume=False)
        assert not list(tmp_path.iterdir())


def test_progress_of_a_resumed_run_begins_where_it_stopped() -> None:
    said: list[tuple[int, int | None, str]] = []
    ticker = Ticker(lambda *args: said.append(args), epochs=3)
    sampler = SliceSampler(np.arange(4), np.arange(4), batch_size=2, seed=0)
    for epoch in (1, 2):
        assert [step for step, _, _ in steps_of(sampler, epoch, ticker)] == [0, 1]
    assert said == [(3, 6, "epoch 2 of 3"), (4, 6, "epoch 2 of 3"), (5, 6, "epoch 3 of 3"), (6, 6, "epoch 3 of 3")]
