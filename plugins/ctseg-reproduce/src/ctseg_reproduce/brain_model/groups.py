"""The groups of heads that a batch is drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctseg_reproduce.brain_model.drawn import drawn_slice
from ctseg_reproduce.brain_model.heads import HeadSlices, kept_share, rounded
from ctseg_reproduce.brain_model.template import read_template, turned_mean, turned_template

DRAWN = 600
"""Slices of ellipses."""
TURNED = 24
"""Turned copies of the template."""
TURNED_MEANS = 4
"""Turned copies of each mean of phantom heads."""
MEAN_LEVEL = 0.85
"""A mean of heads has brain where this share of them has it: a template's mask is drawn where brain is sure."""
Groups = dict[str, list[HeadSlices]]


def groups_of(made: Groups, template: Path | None, seed: int) -> Groups:
    """What was made, turned means of it, ellipses, and the template if there is one.

    Args:
        made: groups `phantom` and `mean`.
        template: folder of the CT template.
        seed: of turns and ellipses.
    """
    groups = {"phantom": made["phantom"], "drawn": [_drawn(seed, number) for number in range(DRAWN)]}
    if made["mean"]:
        copies = [(head, number * TURNED_MEANS + copy) for number, head in enumerate(made["mean"])
                  for copy in range(TURNED_MEANS)]  # fmt: skip
        groups["mean"] = [turned_mean(head, MEAN_LEVEL, number, seed) for head, number in copies]
    if template is not None:
        head, brain = read_template(template)
        groups["template"] = [turned_template(head.voxels, brain, number, seed) for number in range(TURNED)]
    return groups


def _drawn(seed: int, number: int) -> HeadSlices:
    hu, brain = drawn_slice(np.random.default_rng((seed, 10, number)))
    clipped = rounded(hu)[None]
    return HeadSlices(clipped, kept_share(brain)[None], np.zeros(1))
