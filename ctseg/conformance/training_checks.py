"""Checks that train a network with the functions behind `ctseg synth-train` and `ctseg das-train`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctseg.checkpoints import load_checkpoint
from ctseg.conformance.subject import Subject, require
from ctseg.conformance.toys import toy_set
from ctseg.plugins.protocols import has_features
from ctseg.segmentation.train import train_adaptation
from ctseg.synthesis.train import train_synthesis
from ctseg.training.device import make_fabric
from ctseg.training.settings import AdaptationSettings, SynthesisSettings

Progress = Callable[[int, int | None, str], None]
STEPS: dict[str, Any] = {
    "batch_size": 2,
    "epochs": 2,
    "steps_per_epoch": 1,
    "matched": False,
    "sample_every": 100,
    "discriminator_width": 4,
}
SEED = 11


class Stopped(Exception):  # noqa: N818 - it is no error
    """The check stops a training on purpose."""


def synthesis_settings(generator: nn.Module) -> SynthesisSettings:
    """Stage 1 settings with small helper networks; no feature loss where the generator has no features."""
    scope = "fusion" if hasattr(generator, "shared_parameters") else "features"
    return SynthesisSettings(
        **STEPS,
        features_width=4,
        lesion_width=4,
        lr_lesion=0.01,
        lambda_fda=15.0 if has_features(generator) else 0.0,
        fda_scope=scope,  # type: ignore[arg-type]
        audit_slices=2,
    )


def train(subject: Subject, run: Path, *, resume: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Two epochs of one step each on toy slices, by the function behind the command."""
    run.mkdir(exist_ok=True)
    module = subject.build(seed=SEED)
    sets = toy_set("mr"), toy_set("ct")
    with torch.random.fork_rng(), quiet():
        fabric = make_fabric(subject.device, "32", seed=SEED)
        given: dict[str, Any] = {
            "run": run,
            "fabric": fabric,
            "seed": SEED,
            "resume": resume,
            "header": subject.header(),
            "progress": progress,
        }
        if subject.kind == "generator":
            return train_synthesis(*sets, None, module, synthesis_settings(module), **given)
        return train_adaptation(*sets, None, module, AdaptationSettings(**STEPS, lr=0.01), **given)


@contextmanager
def quiet() -> Iterator[None]:
    """Without ctseg's warnings, e.g. that a generator is no good after two steps."""
    logger = logging.getLogger("ctseg")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _stop_at(step: int) -> Progress:
    def progress(done: int, total: int | None, note: str) -> None:  # noqa: ARG001
        if done == step:
            raise Stopped

    return progress


def trains_two_steps(subject: Subject, folder: Path) -> None:
    """A training of two steps moves the weights and leaves a model that loads."""
    summary = train(subject, folder)
    require(summary["steps"] == 2, f"trained {summary['steps']} steps, not 2")
    before, after = subject.build(seed=SEED).state_dict(), subject.load(folder).state_dict()
    require(any(not torch.equal(before[name], after[name]) for name in before), "training moves no weight")


def resumes_exactly(subject: Subject, folder: Path) -> None:
    """A training that stops and is resumed ends with the weights and states of one that never stopped."""
    train(subject, folder / "whole")
    with suppress(Stopped):
        train(subject, folder / "stopped", progress=_stop_at(2))
    train(subject, folder / "stopped", resume=True)
    whole, resumed = (load_checkpoint(folder / name) for name in ("whole", "stopped"))
    _compare(whole, resumed, "checkpoint", exact=subject.device == "cpu")


def _compare(whole: Any, resumed: Any, where: str, *, exact: bool) -> None:
    """Tensors of two nested states are equal, or close on devices that do not repeat themselves."""
    if isinstance(whole, Tensor):
        same = whole.shape == resumed.shape
        same = same and (torch.equal(whole, resumed) if exact else torch.allclose(whole, resumed, rtol=1e-2, atol=1e-3))
        require(same, f"{where} differs after resuming; is it in the objective's state_dict?")
    elif isinstance(whole, dict):
        for key in whole:
            _compare(whole[key], resumed[key], f"{where}.{key}", exact=exact)
    elif isinstance(whole, (list, tuple)):
        for place, (first, second) in enumerate(zip(whole, resumed, strict=True)):
            _compare(first, second, f"{where}.{place}", exact=exact)
