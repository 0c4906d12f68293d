"""The contrastive loss and what prepares its features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def patch_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """PatchNCE (Park et al. 2020, section 3): each query has to find its own key among those of the same slice.

    Args:
        queries: (B, S, D), of length 1: patches of the translation.
        keys: (B, S, D), of length 1: the same patches of the input; no gradient flows into them.
        temperature: a smaller one makes the choice sharper.

    Returns:
        Mean cross-entropy, a scalar.
    """
    logits = queries.float() @ keys.detach().float().transpose(1, 2) / temperature  # (B, S, S)
    own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return functional.cross_entropy(logits.flatten(0, 1), own.flatten())


def draw_places(maps: Sequence[Tensor], patches: int, random: torch.Generator) -> list[Tensor]:
    """For each map (B, C, h, w) at most `patches` different pixels, as indices into h * w."""
    return [
        torch.randperm(item.shape[-2] * item.shape[-1], generator=random)[:patches].to(item.device) for item in maps
    ]


class Heads(nn.Module):
    """A small network for each tapped layer, which makes the features that are contrasted.

    Args:
        channels: of each layer.
        width: length of a feature.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width)) for count in channels
        )

    def forward(self, maps: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w) and S places of each -> features (B, S, width) of length 1."""
        features = []
        for head, item, chosen in zip(self.heads, maps, places, strict=True):
            vectors = item.flatten(2)[:, :, chosen].transpose(1, 2)  # (B, S, C)
            features.append(functional.normalize(head(vectors).float(), dim=-1))
        return features
