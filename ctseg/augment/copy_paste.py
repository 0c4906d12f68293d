"""Haematomas and distractors painted into unlabelled CT, so that the student meets known labels on real texture.

What a segmenter learns on pseudo-CT it learns in the look of the synthesis network. Cross-domain mixing (DACS,
Tranheden et al. 2021) lays source lesions over target slices: where they lie the label is the source's, everywhere else
it is the teacher's. Here the source gives the shape only, the grey is that of fresh blood
(`synthetic_haemorrhage.py`). Not in the paper.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctseg.augment.distractors import paint
from ctseg.augment.synthetic_haemorrhage import lay
from ctseg.networks.intensity import to_images, to_masks, to_uint8

INSIDE = 0.5
"""Share of a lesion that must fall into the brain of the slice it is laid over; a smaller rest is no haematoma."""


def paste(
    target: Tensor, shapes: Tensor, labels: Tensor, weights: Tensor, pasted: float, distractors: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Lay lesions of a source batch over target slices as fresh blood, and distractors without a label.

    Args:
        target: (B, 1, H, W) CT in [-1, 1].
        shapes: (b, 1, H, W) 0/1 source lesions; where b < B they are used again.
        labels: (B, 1, H, W) 0/1, what the teacher says of the target.
        weights: (B, 1, H, W) 0/1, where it is sure.
        pasted: probability that a lesion is laid over a slice.
        distractors: probability of each kind of distractor.
        rng: where and what.

    Returns:
        New slices, labels and weights; weight 1 in all that was painted, for its label is known.
    """
    before, outlines = to_uint8(target), labels[:, 0].to("cpu", torch.uint8).numpy()
    slices = before.copy()
    lesions = shapes[:, 0].cpu().numpy() > 0
    for place, (image, outline) in enumerate(zip(slices, outlines, strict=True)):
        lesion = lesions[place % len(lesions)]
        if rng.random() >= pasted or not lesion.any():
            continue
        core = lay(image, lesion, rng, INSIDE)
        if core is not None:
            outline[core] = 1
    # A distractor may lie anywhere but on a lesion, painted or seen by the teacher.
    painted = paint(slices, outlines, distractors, rng)
    images, outlined = to_images(painted, target.device), to_masks(outlines, target.device)
    known = torch.from_numpy((before != painted)[:, None]).to(target.device).float()
    return images, outlined, torch.maximum(weights, known)
