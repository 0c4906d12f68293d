"""How often each kind of haematoma is drawn; nothing heavy is imported here."""

from __future__ import annotations

CONTUSION_SHARE = 0.35
"""Of drawn bleeds; BHSD does not tell trauma from other causes."""
DEEP_SHARE = 0.57
"""Of spontaneous IPH: putamen, thalamus and pons (`ctseg.phantom.haematoma.SITES`)."""
