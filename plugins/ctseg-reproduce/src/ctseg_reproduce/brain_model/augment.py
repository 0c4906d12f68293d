"""Augmentation of the brain network's training slices: place, size, scanner, bleeds, missing bone, things outside.

Slices are (B, 3, H, W) HU of a slice and its two neighbours, and (B, 1, H, W) shares of brain, at 2 mm. Everything is
drawn and computed on the device of the slices; nothing waits for it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from ctseg_reproduce.brain_model.pool import Batch

LOW, HIGH = -200.0, 450.0
WINDOWS = ((0.0, 80.0), (0.0, 100.0), (-100.0, 200.0), (-200.0, 200.0))
"""HU that scans are clipped to by some exports."""


def augmented(batch: Batch, rng: torch.Generator, canvas: int) -> Batch:
    """Slices as other patients on other scanners would give them, on `canvas` x `canvas` pixels."""
    hu, brain, counted = _placed(batch, rng, canvas)
    hu = _without_bone(hu, brain, rng)
    hu = _with_cells(hu, brain, rng)
    hu = _with_spots(hu, brain, rng)
    hu = _with_things_outside(hu, brain, rng)
    hu = _scanned(hu, rng)
    return Batch(*_cut(hu, brain, rng), counted)


def _uniform(rng: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand((count, 1, 1, 1), generator=rng, device=rng.device)


def _chance(rng: torch.Generator, count: int, share: float) -> Tensor:
    return torch.rand((count, 1, 1, 1), generator=rng, device=rng.device) < share


def _field(rng: torch.Generator, count: int, channels: int, nodes: int, size: int) -> Tensor:
    """Smooth random fields of about unit variance, (count, channels, size, size)."""
    coarse = torch.randn((count, channels, nodes, nodes), generator=rng, device=rng.device)
    return interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)


def _placed(batch: Batch, rng: torch.Generator, canvas: int) -> tuple[Tensor, Tensor, Tensor]:
    """Turned, scaled (children's heads too), shifted, mirrored and bent."""
    hu = batch.hu
    count, size = len(hu), hu.shape[-1]
    draws = torch.randn((4, count), generator=rng, device=rng.device)
    angle = (draws[0] * 12).clamp(-32, 32) * math.pi / 180
    scale = torch.exp(_uniform(rng, count, math.log(0.85), math.log(1.55)).flatten()) * canvas / size
    stretch = torch.exp(0.06 * draws[1])
    mirror = torch.where(_chance(rng, count, 0.5).flatten(), -1.0, 1.0)
    shift = draws[2:].clamp(-2, 2) * 12 / size
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cos * stretch * mirror, -sin / stretch, shift[0]], 1)]
    rows.append(torch.stack([sin * stretch * mirror, cos / stretch, shift[1]], 1))
    grid = affine_grid(torch.stack(rows, 1), [count, 1, canvas, canvas], align_corners=False)
    bend = _field(rng, count, 2, 6, canvas).permute(0, 2, 3, 1) * _uniform(rng, count, 0, 0.03)
    all_maps = torch.cat([hu - LOW, batch.brain, 1 - batch.counted], dim=1)
    moved = grid_sample(all_maps, grid + bend, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[:, :-2] + LOW, moved[:, -2:-1].clamp(0, 1), (moved[:, -1:] < 0.01).float()


def _some(rng: torch.Generator, count: int, share: float) -> Tensor:
    """Indices of the slices that something is done to, at least one."""
    return torch.randperm(count, generator=rng, device=rng.device)[: max(1, round(count * share))]


def _polar(brain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Angle and distance of every pixel from the middle of the brain, and the brain's radius, in pixels."""
    size = brain.shape[-1]
    axis = torch.arange(size, dtype=torch.float32, device=brain.device)
    area = brain.sum(dim=(2, 3), keepdim=True)
    row = (brain * axis[:, None]).sum(dim=(2, 3), keepdim=True) / area.clamp(min=1)
    column = (brain * axis).sum(dim=(2, 3), keepdim=True) / area.clamp(min=1)
    down, right = axis[:, None] - row, axis - column
    return torch.atan2(down, right), torch.hypot(down, right), (area / math.pi).sqrt()


def _without_bone(hu: Tensor, brain: Tensor, rng: torch.Generator) -> Tensor:
    """A piece of the skull is missing, as after a craniectomy: soft tissue in its place."""
    chosen = _some(rng, len(hu), 0.1)
    part, inside, count = hu[chosen], brain[chosen], len(chosen)
    angle, away, radius = _polar(inside)
    near = torch.remainder(angle - _uniform(rng, count, -math.pi, math.pi) + math.pi, 2 * math.pi) - math.pi
    hole = (near.abs() < _uniform(rng, count, 0.1, 0.9)) & (away < 2 * radius + 12) & (inside < 0.6) & (part > 90)
    hu[chosen] = torch.where(hole & (radius > 12), _uniform(rng, count, 15, 60), part)
    return hu


def _with_cells(hu: Tensor, brain: Tensor, rng: torch.Generator) -> Tensor:
    """Air cells and marrow in thick bone outside the brain, as in the mastoid, the sinuses and the diploe."""
    chosen = _some(rng, len(hu), 0.25)
    part, count = hu[chosen], len(chosen)
    fine, coarse = (_field(rng, count, 1, nodes, hu.shape[-1]) for nodes in (56, 8))
    cells = (fine > _uniform(rng, count, 0.2, 1.2)) & (coarse > 0) & (part > 200) & (brain[chosen] < 0.05)
    hu[chosen] = torch.where(cells, _uniform(rng, count, -900, 150).clamp(min=LOW), part)
    return hu


def _ellipse(rng: torch.Generator, away: Tensor, brain: Tensor, most: float) -> Tensor:
    """A soft ellipse (B, 1, H, W) in 0..1 around a random place within `away` radii of the brain's middle."""
    count, size = len(brain), brain.shape[-1]
    angle, distance, radius = _polar(brain)
    towards, far = _uniform(rng, count, -math.pi, math.pi), away * radius
    down = distance * torch.sin(angle) - far * torch.sin(towards)
    right = distance * torch.cos(angle) - far * torch.cos(towards)
    turn = _uniform(rng, count, 0, math.pi)
    along, across = right * torch.cos(turn) + down * torch.sin(turn), down * torch.cos(turn) - right * torch.sin(turn)
    size_a, size_b = (_uniform(rng, count, 1.0, most) for _ in range(2))
    inside = (1 - torch.hypot(along / size_a, across / size_b)) * torch.minimum(size_a, size_b)
    rough = 0.8 * _field(rng, count, 1, 24, size)
    return (inside + rough + 0.5).clamp(0, 1)


SPOTS = (
    # share of slices, lowest and highest HU, largest half axis in pixels, lowest distance from the middle
    (0.35, 45.0, 95.0, 18.0, 0.0),
    (0.2, 45.0, 90.0, 12.0, 0.6),
    (0.2, 0.0, 25.0, 18.0, 0.0),
    (0.1, 100.0, 900.0, 4.0, 0.0),
    (0.06, -900.0, LOW, 10.0, 0.3),
)
"""Bleeds anywhere and near the skull, infarcts and cysts, calcium and metal, air."""


def _with_spots(hu: Tensor, brain: Tensor, rng: torch.Generator) -> Tensor:
    """Bleeds, infarcts, cysts, calcium, metal with streaks and air, wherever they may lie in the head."""
    for share, low, high, most, away in SPOTS:
        chosen = _some(rng, len(hu), share)
        inside, count = brain[chosen], len(chosen)
        where = _ellipse(rng, _uniform(rng, count, away, 1.05), inside, most) * (inside > 0.4)
        hu[chosen] += where * (_uniform(rng, count, low, high) - hu[chosen])
    chosen = _some(rng, len(hu), 0.06)
    angle, away_from, radius = _polar(brain[chosen])
    count = len(chosen)
    streaks = torch.cos(torch.round(_uniform(rng, count, 3, 24)) * angle + _uniform(rng, count, 0, 6))
    hu[chosen] += streaks * _uniform(rng, count, 10, 80) * (radius / (away_from + 4)).clamp(max=2)
    return hu.clamp(LOW, 2 * HIGH)


def _with_things_outside(hu: Tensor, brain: Tensor, rng: torch.Generator) -> Tensor:
    """Holder, pillow, straps, blankets and tubes in the air around the head."""
    axis = torch.linspace(-1, 1, hu.shape[-1], device=hu.device)
    for share in (0.4, 0.3):
        chosen = _some(rng, len(hu), share)
        part, count = hu[chosen], len(chosen)
        turn, place = _uniform(rng, count, 0, 2 * math.pi), _uniform(rng, count, 0.4, 1.0)
        across = axis * torch.cos(turn) + axis[:, None] * torch.sin(turn)
        along = axis * torch.sin(turn) - axis[:, None] * torch.cos(turn)
        bent = across + _uniform(rng, count, -0.4, 0.4) * along**2
        thick = torch.exp(_uniform(rng, count, math.log(0.01), math.log(0.2)))
        thing = ((bent - place).abs() < thick) & (part[:, 1:2] < -150) & (brain[chosen] == 0)
        hu[chosen] = torch.where(thing, LOW + 650 * _uniform(rng, count, 0, 1) ** 2, part)
    return hu


def _scanned(hu: Tensor, rng: torch.Generator) -> Tensor:
    """Another calibration, noise, sharpness and shading."""
    count, size = len(hu), hu.shape[-1]
    blurred = torch.nn.functional.avg_pool2d(hu, 3, stride=1, padding=1, count_include_pad=False)
    hu = hu + _uniform(rng, count, -0.5, 0.6) * (blurred - hu) * _chance(rng, count, 0.4)
    hu = hu * _uniform(rng, count, 0.92, 1.08) + _uniform(rng, count, -11, 11)
    hu = hu + _field(rng, count, 1, 4, size) * _uniform(rng, count, 0, 4)
    noise = torch.randn(hu.shape, generator=rng, device=rng.device)
    return hu + noise * torch.exp(_uniform(rng, count, math.log(0.5), math.log(14)))


def _cut(hu: Tensor, brain: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """A field of view that ends within the head, and a scan that was clipped to a window."""
    count, size = len(hu), hu.shape[-1]
    turn, place = _uniform(rng, count, 0, 2 * math.pi), _uniform(rng, count, 0.2, 0.9)
    axis = torch.linspace(-1, 1, size, device=hu.device)
    beyond = axis * torch.cos(turn) + axis[:, None] * torch.sin(turn) > place
    beyond &= _chance(rng, count, 0.08)
    hu = torch.where(beyond, LOW, hu)
    brain = brain * ~beyond
    hu = hu.clamp(LOW, HIGH)
    clipped = _chance(rng, count, 0.12)
    numbers = torch.randint(len(WINDOWS), (count,), generator=rng, device=rng.device)
    chosen = torch.tensor(WINDOWS, device=rng.device)[numbers][:, :, None, None, None]
    window = torch.minimum(torch.maximum(hu, chosen[:, 0]), chosen[:, 1])
    return torch.where(clipped, window, hu), brain
