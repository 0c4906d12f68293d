"""Haematomas of known size, HU and place in any head CT: a test bed, an augmentation, and `segment --recovery`."""
