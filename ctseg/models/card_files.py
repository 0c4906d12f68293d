"""Where a model's card lies, and whether a file is one, without reading what it says."""

from __future__ import annotations

from pathlib import Path

from ctseg.files import read_json_beside

CARD_SCHEMA = "ctseg-model-card/1"
MAX_BYTES = 1_000_000
"""A card is a page of text; a larger file is none."""


def card_path(weights: Path) -> Path:
    """Where the card of a weights file lies: `NAME.safetensors` -> `NAME.json`."""
    return Path(weights).with_suffix(".json")


def is_card(path: Path) -> bool:
    """Whether a file claims to be a model card: any other JSON beside weights is none of ctseg's business."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return False
    data = read_json_beside(path)
    return isinstance(data, dict) and str(data.get("schema", "")).startswith(CARD_SCHEMA.rpartition("/")[0] + "/")


def may_be_card(path: Path) -> bool:
    """Whether a file beside weights is their card, or nobody can say: cut short, no text, a link to nothing.

    To pass such a one over would leave out its settings and corrections without a word.
    """
    if not path.is_file():
        return path.is_symlink() and not path.exists()
    return path.stat().st_size <= MAX_BYTES and (is_card(path) or read_json_beside(path) is None)
