"""Rules that choose a checkpoint without any CT label."""
