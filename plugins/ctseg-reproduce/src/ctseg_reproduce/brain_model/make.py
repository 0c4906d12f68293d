"""`ctseg reproduce brain-model`: from nothing to the brain network's weights and their card."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ctseg.files import write_text, write_with
from ctseg.io.input_digests import file_sha256
from ctseg.progress import ProgressCallback
from ctseg_reproduce.brain_model.heads import HeadSlices
from ctseg_reproduce.brain_model.template import BRAIN, HEAD, read_template
from ctseg_reproduce.brain_model.wide import mean_slices, wide_head
from ctseg_reproduce.making import SECONDS, add_seconds, keep_request, read_back
from ctseg_reproduce.stages import read_table

NAME = "brain-1"
HEADS, STEPS = 14, 9632
PHANTOM_SEED = 1000
"""Of all heads; `wide` draws none that a cohort of this seed has."""
MEANS = (8,)
"""Heads in each mean of phantom heads."""
FILES = ("heads", "training.pt", SECONDS, "request.json", f"{NAME}.safetensors", f"{NAME}.md")

TEMPLATE_DATA = (
    "- The CT template `scct` (Rorden et al. 2012; neurolabusc/Clinical, BSD-2-Clause), a mean of people's heads,\n"
    "  and its brain mask: its own figure is no test.\n"
)


@dataclass(frozen=True)
class BrainModelRequest:
    """What to make."""

    root: Path
    template: Path | None
    """Folder of the CT template; None: the weights never see it."""
    seed: int = 0
    heads: int = HEADS
    means: tuple[int, ...] = MEANS
    steps: int = STEPS
    device: str = "cpu"


def make_heads(request: BrainModelRequest, progress: ProgressCallback) -> dict[str, list[HeadSlices]]:
    """Simulate the slices of all phantom heads that are not there; read all of them."""
    started = time.perf_counter()
    wanted = _wanted(request)
    missing = [path for paths in wanted.values() for path in paths if not path.exists()]
    makers = {path: maker for paths in wanted.values() for path, maker in paths.items()}
    for done, path in enumerate(missing, start=1):
        makers[path]().save(path)
        progress(len(makers) - len(missing) + done, len(makers), "heads")
    if missing:
        add_seconds(request.root, "heads", time.perf_counter() - started)
    return {group: [read_back(HeadSlices.load, path) for path in paths] for group, paths in wanted.items()}


def _wanted(request: BrainModelRequest) -> dict[str, dict[Path, Callable[[], HeadSlices]]]:
    """Group -> file of a head -> what makes it."""
    folder = request.root / "heads"
    phantoms: dict[Path, Callable[[], HeadSlices]] = {
        folder / f"wide-{number:03d}.npz": partial(wide_head, PHANTOM_SEED, number) for number in range(request.heads)
    }
    means: dict[Path, Callable[[], HeadSlices]] = {
        folder / f"mean-{number}.npz": partial(mean_slices, PHANTOM_SEED, number, heads)
        for number, heads in enumerate(request.means)
    }
    return {"phantom": phantoms, "mean": means}


def make_weights(request: BrainModelRequest, progress: ProgressCallback) -> Path:
    """Make whatever is missing; returns the file of weights, with its card beside it.

    Raises:
        InputError: if the template is not where it was said to be, the folder was begun with another request, or what
            is in it is damaged.
    """
    import torch
    from safetensors.numpy import save_file

    from ctseg_reproduce.brain_model.groups import groups_of
    from ctseg_reproduce.brain_model.network import folded
    from ctseg_reproduce.brain_model.pool import Pool
    from ctseg_reproduce.brain_model.train import train
    from ctseg_reproduce.training_state import Length

    _check(request)
    torch.set_num_threads(1)
    groups = groups_of(make_heads(request, progress), request.template, request.seed)
    started = time.perf_counter()
    pool = Pool.of(groups, torch.device(request.device))
    network = train(pool, request.root, length=Length(request.steps), seed=request.seed, report=progress)
    add_seconds(request.root, "training", time.perf_counter() - started)
    weights, path = folded(network), request.root / f"{NAME}.safetensors"
    write_with(path, lambda temporary: save_file(weights, temporary))
    slices = {name: stop - start for name, (start, stop) in pool.groups.items()}
    write_text(path.with_suffix(".md"), card(request, path, slices, request.steps, machine(request.device)))
    return path


def _check(request: BrainModelRequest) -> None:
    """Refuse what cannot be gone on with, before anything is simulated."""
    asked: dict[str, object] = {"seed": request.seed, "heads": request.heads, "means": list(request.means)}
    asked |= {"steps": request.steps, "template": None}
    if request.template is not None:
        read_template(request.template)
        asked["template"] = [file_sha256(request.template / name) for name in (HEAD, BRAIN)]
    keep_request(request.root, asked, "seed, template or length")


def card(request: BrainModelRequest, path: Path, slices: dict[str, int], steps: int, made_on: str) -> str:
    """The card of the weights, in Markdown.

    Args:
        request: what was asked for.
        path: the weights.
        slices: of every group of heads.
        steps: of training.
        made_on: the machine that trained.
    """
    given = " --template ct-template" if request.template else ""
    command = f"ctseg reproduce brain-model{given} --seed {request.seed} --device {request.device} -o FOLDER"
    spent = read_table(request.root / SECONDS)
    seconds = ", ".join(f"{stage} {round(value)} s" for stage, value in sorted(spent.items()))
    heads = f"{request.heads} phantom heads"
    if request.means:
        heads += f", {len(request.means)} means of {min(request.means)} to {max(request.means)} phantom heads"
    heads += ", ellipses" + (", the CT template" if request.template else "")
    counts = ", ".join(f"{name} {count}" for name, count in slices.items())
    template = TEMPLATE_DATA if request.template else ""
    return f"""# {NAME}: the brain network of ctseg

| | |
|---|---|
| what it does | head CT in HU to the intracranial space above the foramen magnum, at 2 mm |
| file | `{path.name}`, {path.stat().st_size} bytes |
| SHA-256 | `{file_sha256(path)}` |
| command | `{command}` |
| heads | {heads} |
| slices | {counts} |
| steps, seed | {steps} steps, seed {request.seed} |
| time | {seconds} (one process) |
| made on | {made_on} |
| licence | Apache-2.0, as ctseg |

Data:

- Simulated heads of `ctseg phantom`; no patient. Brain maps: ICBM 152 2009a (Fonov et al. 2011).
{template}- Ellipses in place of heads and necks, drawn by the program.

It has seen no real scan of a single person, no label of a reader, and no bleed but simulated ones. Limits and
measurements: `docs/brain-network.md`. Not a medical device.
"""


def machine(device: str) -> str:
    """The machine that trains, with the versions that matter."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.machine()}, {device}"
    return f"{name}, Python {platform.python_version()}, NumPy {np.__version__}, torch {torch.__version__}"
