"""Slice sets and work for trainings of two processes.

A module of its own, not a conftest, so that spawned processes can import what is in it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import open_slices
from ctseg.preprocess.settings import PreprocessSettings

SIZE = 32


def toy(folder: Path, domain: str, seed: int, count: int = 8) -> Path:
    """Labelled slices, two of a patient, the first patient in 'val': a square brain with a bright square in it."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, SIZE, SIZE), np.uint8)
    images[:, 3:-3, 3:-3] = rng.integers(60, 110, (count, SIZE - 6, SIZE - 6))
    masks = np.zeros_like(images)
    for place in range(count):
        row, column = rng.integers(6, 18, 2)
        masks[place, row : row + 6, column : column + 3 + place % 4] = 1
    images[masks > 0] = 210
    patients = [f"{domain}_p{place // 2}" for place in range(count)]
    table = pd.DataFrame(
        {
            "slice_id": [f"{domain}{place}" for place in range(count)], "patient_id": patients, "series_id": patients,
            "index": [place % 2 for place in range(count)], "z_mm": [5.0 * (place % 2) for place in range(count)],
            "spacing_row_mm": 7.5, "spacing_col_mm": 7.5, "brain_px": (SIZE - 6) ** 2,
            "lesion_px": masks.sum(axis=(1, 2)),
            "split": ["val" if place < 2 else "train" for place in range(count)],
        }
    )  # fmt: skip
    folder.mkdir()
    write_slices(
        folder, domain=domain, images=images, masks=masks, table=table, intensity={"a": 2.55, "b": 0.0, "unit": "HU"},
        settings=PreprocessSettings(size=SIZE).model_dump(mode="json"),
    )  # fmt: skip
    return folder


def in_processes(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """`work(fabric, *arguments)` in `count` processes that train together; each has to end well."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    spawn = get_context("spawn")
    processes = [spawn.Process(target=_member, args=(count, rank, port, work, arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * count


def _member(count: int, rank: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    from ctseg.training.device import make_fabric

    work(make_fabric("cpu", "32", count, 0, machines=1), *arguments)


def stage_1(fabric: Any, folder: Path, run: Path, settings: dict[str, Any]) -> None:
    """A tiny training of stage 1 on the toys in `folder`."""
    from ctseg.networks.blocks import seeded
    from ctseg.networks.generator import AmdGenerator
    from ctseg.runs import ModelHeader
    from ctseg.synthesis.train import train_synthesis
    from ctseg.training.settings import SynthesisSettings

    if fabric.is_global_zero:
        run.mkdir()
    with seeded(0):
        generator = AmdGenerator(width=4, growth=2, layers=2)
    train_synthesis(
        open_slices(folder / "mr"), open_slices(folder / "ct"), None, generator, SynthesisSettings(**settings), run,
        fabric=fabric, seed=3, resume=False, header=ModelHeader("generator", "amd", {}, "tests", "0"),
    )  # fmt: skip


def stage_2(fabric: Any, folder: Path, run: Path, settings: dict[str, Any]) -> None:
    """A tiny training of stage 2 on the toys in `folder`."""
    from ctseg.networks.blocks import seeded
    from ctseg.networks.unet import UNet
    from ctseg.runs import ModelHeader
    from ctseg.segmentation.train import train_adaptation
    from ctseg.training.settings import AdaptationSettings

    if fabric.is_global_zero:
        run.mkdir()
    with seeded(0):
        segmenter = UNet(width=4, depth=2)
    train_adaptation(
        open_slices(folder / "mr"), open_slices(folder / "ct"), None, segmenter, AdaptationSettings(**settings), run,
        fabric=fabric, header=ModelHeader("segmenter", "unet", {}, "tests", "0"), seed=3,
    )  # fmt: skip


def batch_norms(fabric: Any, folder: Path) -> None:
    """Batch norm of one process on the whole batch, of two on a half each: outputs, gradients, statistics."""
    import torch
    from torch import nn

    from ctseg.networks.modes import frozen
    from ctseg.training.processes import average_gradients, own_rows
    from ctseg.training.shared_batch_norm import share_batch_norm

    for shape, kind in (((6, 3), nn.BatchNorm1d), ((6, 3, 5, 4), nn.BatchNorm2d), ((6, 3, 2, 3, 4), nn.BatchNorm3d)):
        for momentum, affine in ((0.1, True), (None, False)):
            torch.manual_seed(1)
            whole, shared = (nn.Sequential(kind(3, momentum=momentum, affine=affine)) for _ in range(2))
            share_batch_norm(shared)
            assert isinstance(shared[0], kind)
            assert type(shared[0]) is not kind
            for number in range(3):
                images = 100.0 + torch.randn(shape, generator=torch.Generator().manual_seed(number))
                weights = torch.randn(shape, generator=torch.Generator().manual_seed(9))
                rows = own_rows(3)
                mine, all_of_it = images[rows].clone().requires_grad_(), images.clone().requires_grad_()
                context = frozen(whole, shared) if number == 2 else nullcontext()
                with context:
                    got, wanted = shared(mine), whole(all_of_it)
                torch.testing.assert_close(got, wanted[rows], rtol=1e-4, atol=1e-4)
                (got * weights[rows]).mean().backward()
                (wanted * weights).mean().backward()
                average_gradients(shared.parameters())
                torch.testing.assert_close(mine.grad / 2, all_of_it.grad[rows], rtol=1e-3, atol=1e-5)
                for one, other in zip(shared.parameters(), whole.parameters(), strict=True):
                    torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)
            for one, other in zip(shared.buffers(), whole.buffers(), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
            shared.eval()
            whole.eval()
            torch.testing.assert_close(shared(images), whole(images), rtol=1e-4, atol=1e-4)


def no_training(argv: list[str], place: dict[str, str], _study: str, _quiet: bool) -> None:
    """In place of `ctseg.cli.processes.member`: end, or stop, as the word for this rank in `argv` says."""
    import signal
    import sys

    word = argv[int(place["LOCAL_RANK"])]
    if word == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.exit(int(word))
