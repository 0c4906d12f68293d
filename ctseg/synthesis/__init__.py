"""Stage 1: pseudo-CT."""
