"""Stage 1: train a generator that turns labelled MR into pseudo-CT."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctseg.errors import PluginError, SettingError
from ctseg.io.slices import SliceSet, check_same_size
from ctseg.networks.blocks import seeded
from ctseg.networks.intensity import on_device, to_images, to_masks, to_uint8
from ctseg.networks.modes import evaluating
from ctseg.outputs import run_folder
from ctseg.plugins.protocols import Batch, Objective, ObjectiveContext
from ctseg.progress import ProgressCallback
from ctseg.render.curves import curves_png
from ctseg.render.sheet import grid_png
from ctseg.runs import RUN_FILES, ModelHeader, read_metrics, save_model
from ctseg.synthesis import audit
from ctseg.synthesis.objective import make_objective
from ctseg.training.graphs import RecordedStep, recorded_step
from ctseg.training.loop import EpochLoop, LossMeter, Ticker, lr_factor, run_epochs, steps_of
from ctseg.training.processes import own_rows, world_size
from ctseg.training.sampling import Rows, SliceSampler, step_rng
from ctseg.training.settings import SynthesisSettings
from ctseg.training.shared_batch_norm import share_batch_norm

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ctseg.matching.pairs import PairTable

SAMPLES = 4
"""Rows of a sample picture."""
logger = logging.getLogger("ctseg")


def train_synthesis(
    source: SliceSet,
    target: SliceSet,
    pairs: PairTable | None,
    generator: nn.Module,
    settings: SynthesisSettings,
    run: Path,
    *,
    fabric: Fabric,
    seed: int,
    resume: bool,
    header: ModelHeader,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train `generator` in `run`, a folder made by `ctseg.runs.start_run`, or an empty one.

    Leaves `checkpoint.pt`, `metrics.jsonl`, `samples/epoch_XXXX.png`, `curves.png` and, at last, `model.safetensors`.

    Args:
        source: MR slices; labelled, unless `lambda_les` is 0.
        target: CT slices; their masks, if any, are never read.
        pairs: which CT slices each MR slice may meet; needed if `settings.matched`.
        generator: untrained, or with the weights to start from; trained in place.
        settings: resolved.
        run: the run folder.
        fabric: device, precision and processes.
        seed: of the helper networks and of every draw.
        resume: go on from the run's checkpoint if it has one.
        header: of the model file; what is learned about the training is added to its `training`.
        progress: called with (steps done, steps, note).

    Returns:
        Epochs, steps, and the last epoch's losses and audit; nothing in a process that does not write.

    Raises:
        InputError: if sizes differ, masks or pairs are missing, a split is empty, or `run` is or holds an input.
        OutputExistsError: if `run` holds a training and `resume` is not set.
        SettingError: if the settings ask of the generator what it does not have, or matching without pairs.
        TrainingError: if a loss or weight is no longer finite.
    """
    stage = _Stage.make(source, target, pairs, generator, settings, fabric, seed)
    reads = (source.folder, target.folder)
    with run_folder(run, RUN_FILES, inputs=reads, resume=resume, writes=stage.writes):
        return _train(stage, run, resume, header, progress)


def _train(
    stage: _Stage, run: Path, resume: bool, header: ModelHeader, progress: ProgressCallback | None
) -> dict[str, Any]:
    """As `train_synthesis`, in a folder that is guarded."""
    settings, generator = stage.settings, stage.generator
    ticker = Ticker(progress, settings.epochs + settings.decay_epochs)
    loop = EpochLoop(
        run=run,
        epochs=settings.epochs + settings.decay_epochs,
        train_epoch=lambda epoch: _train_epoch(stage, epoch, ticker, run),
        state=lambda: {"generator": generator.state_dict(), "objective": stage.objective.state_dict()},
        restore=lambda state: _restore(stage, state),
        modules={"generator": generator, **stage.helpers()},
        seed=stage.seed,
        checkpoint_every=settings.checkpoint_every,
        writes=stage.writes,
    )
    rows = run_epochs(loop, resume=resume, device=stage.device)
    if not stage.writes:
        return {}
    summary = {"epochs": loop.epochs, "steps": loop.epochs * stage.sampler.steps, "last": rows[-1] if rows else {}}
    curves_png(run / "curves.png", rows)
    training = {**header.training, **stage.counts(), **summary, "selection": "last epoch"}
    save_model(run / "model.safetensors", generator, replace(header, training=training))
    return summary


@dataclass
class _Stage:
    """What every step needs."""

    source: SliceSet
    target: SliceSet
    generator: nn.Module
    objective: Objective
    sampler: SliceSampler
    settings: SynthesisSettings
    audit_slices: audit.AuditSlices
    device: torch.device
    autocast: Callable[[], Any]
    seed: int
    writes: bool
    recorded: RecordedStep | None
    """The objective's step as a CUDA graph, where it can be one."""
    warned: set[str] = field(default_factory=set)
    """Warnings already given; each is given when it first comes up, and is in `metrics.jsonl` as long as it applies."""

    @classmethod
    def make(
        cls,
        source: SliceSet,
        target: SliceSet,
        pairs: PairTable | None,
        generator: nn.Module,
        settings: SynthesisSettings,
        fabric: Fabric,
        seed: int,
    ) -> _Stage:
        check_same_size(source, target)
        if settings.lambda_les:
            source.require_masks("lesion consistency needs them (or --set lambda_les=0)")
        sampler = _sampler(source, target, pairs, settings, fabric, seed)
        generator.to(fabric.device)
        if settings.channels_last:
            generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with seeded(seed):
            objective = make_objective(generator, ObjectiveContext(settings, fabric.device, fabric.autocast))
        share_batch_norm(generator, *_shown(objective).values())
        looked_at = audit.choose(
            source, target, _audit_rows(source, sampler), sampler.target_rows, settings.audit_slices
        )
        return cls(
            source, target, generator, objective, sampler, settings, looked_at, fabric.device, fabric.autocast,
            seed, fabric.is_global_zero, _recorded(objective, fabric.device),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """How many slices of each set are trained on."""
        return {"source_slices": len(self.sampler.source_rows), "target_slices": len(self.sampler.target_rows)}

    def helpers(self) -> dict[str, nn.Module]:
        """The objective's helper networks, if it shows them."""
        return _shown(self.objective)


def _recorded(objective: Objective, device: torch.device) -> RecordedStep | None:
    if not getattr(objective, "recordable", False):
        return None
    optimisers = cast(Any, objective).optimisers.values()
    return recorded_step(lambda tensors: objective.step(Batch(*tensors)), optimisers, device)


def _shown(objective: Objective) -> dict[str, nn.Module]:
    modules = getattr(objective, "modules", None)
    shown = modules() if callable(modules) else None
    # An objective that is itself an `nn.Module` has a `modules` of another meaning.
    return dict(shown) if isinstance(shown, Mapping) else {}


def _sampler(
    source: SliceSet, target: SliceSet, pairs: PairTable | None, settings: SynthesisSettings, fabric: Fabric, seed: int
) -> SliceSampler:
    if settings.matched and pairs is None:
        raise SettingError("matched=true needs --pairs; make them with `ctseg match`, or --set matched=false")

    def candidates(row: int) -> Rows:
        return cast("PairTable", pairs).candidates(row)[: settings.pairs_top]

    return SliceSampler(
        split_rows(source, settings.source_split),
        split_rows(target, settings.target_split),
        batch_size=settings.batch_size,
        seed=seed,
        candidates=candidates if settings.matched else None,
        steps_per_epoch=settings.steps_per_epoch,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )


def split_rows(slices: SliceSet, split: str) -> Rows:
    """Rows of a split; 'all' for every slice.

    Raises:
        InputError: if the split has no slice.
    """
    return slices.rows(None if split == "all" else split)


def _audit_rows(source: SliceSet, sampler: SliceSampler) -> Rows:
    """The source's validation slices if it has any, else those it trains on."""
    rows = np.flatnonzero(source.table["split"].to_numpy() == "val")
    return rows if len(rows) else sampler.source_rows


def _restore(stage: _Stage, state: dict[str, Any]) -> None:
    stage.generator.load_state_dict(state["generator"])
    stage.objective.load_state_dict(state["objective"])


def _train_epoch(stage: _Stage, epoch: int, ticker: Ticker, run: Path) -> dict[str, Any]:
    settings, meter = stage.settings, LossMeter(epoch)
    factor = lr_factor(epoch, settings.epochs, settings.decay_epochs)
    stage.objective.set_lr_factor(factor)
    for net in (stage.generator, *stage.helpers().values()):
        net.train()
    for step, source_rows, target_rows in steps_of(stage.sampler, epoch, ticker):
        batch = _batch(stage, epoch, step, source_rows, target_rows)
        if stage.recorded is None:
            meter.add(stage.objective.step(batch))
        else:
            meter.add(stage.recorded((batch.source, batch.source_mask, batch.target), factor))
    return {"lr_factor": factor, **meter.means(), **(_look(stage, epoch, run) if stage.writes else {})}


def _batch(stage: _Stage, epoch: int, step: int, source_rows: Rows, target_rows: Rows) -> Batch:
    images, device = stage.source.images[source_rows], stage.device
    masks = np.zeros_like(images) if stage.source.masks is None else stage.source.masks[source_rows]
    tensors = (to_images(images, device), to_masks(masks, device), to_images(stage.target.images[target_rows], device))
    if stage.settings.flip:
        drawn = step_rng(stage.seed, epoch, step).random(len(source_rows) * world_size())
        mirrored = drawn[own_rows(len(source_rows))] < 0.5
        tensors = cast(tuple[Tensor, Tensor, Tensor], tuple(flip(item, mirrored.tolist()) for item in tensors))
    return Batch(*tensors)


def flip(images: Tensor, mirrored: list[bool]) -> Tensor:
    """Mirror the chosen images of a batch (B, 1, H, W) left-right."""
    chosen = on_device(torch.tensor(mirrored), images.device)[:, None, None, None]
    return torch.where(chosen, images.flip(-1), images)


def _look(stage: _Stage, epoch: int, run: Path) -> dict[str, Any]:
    """The audit's numbers and warnings, and a picture when it is time for one."""
    slices = stage.audit_slices
    translated = audit.translate_audit(
        stage.generator, stage.helpers().get("s_ori"), slices, stage.autocast, stage.device
    )
    numbers = audit.measure(slices, translated)
    found = audit.warnings(numbers)
    for text in found:
        if text not in stage.warned:
            logger.warning("epoch %d: %s; look at samples/", epoch + 1, text)
    stage.warned = set(found)
    last = epoch + 1 == stage.settings.epochs + stage.settings.decay_epochs
    if (epoch + 1) % stage.settings.sample_every == 0 or last:
        _write_sample(stage, translated, run / "samples" / f"epoch_{epoch + 1:04d}.png")
        curves_png(run / "curves.png", read_metrics(run))
    return {**numbers, "warnings": found}


def _write_sample(stage: _Stage, translated: audit.Translated, path: Path) -> None:
    """A few audit slices, spread over the patients: MR, pseudo-CT, MR again, and some real CT."""
    slices = stage.audit_slices
    shown = audit.spread(np.arange(len(slices.images)), SAMPLES)
    pseudo_ct, masks = translated.pseudo_ct[shown], slices.masks[shown]
    columns = {"MR": slices.images[shown], "pseudo-CT": pseudo_ct}
    recon_mr = _reconstruct(stage, pseudo_ct)
    if recon_mr is not None:
        columns["MR again"] = recon_mr
    labelled = len(columns)
    columns["real CT"] = slices.real_ct[np.linspace(0, len(slices.real_ct) - 1, len(shown)).astype(np.int64)]
    rows = [[column[place] for column in columns.values()] for place in range(len(shown))]
    grid_png(path, rows, list(columns), [[*[mask] * labelled, None] for mask in masks])


@torch.no_grad()
def _reconstruct(stage: _Stage, pseudo_ct: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """MR reconstructed from pseudo-CT; None if the generator translates in one direction only."""
    with evaluating(stage.generator), stage.autocast():
        try:
            return to_uint8(cast(Any, stage.generator).to_source(to_images(pseudo_ct, stage.device)))
        except PluginError:
            return None
