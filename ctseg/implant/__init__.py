"""Haematomas of known size, HU and place laid into a head CT: a test bed, an augmentation, and `segment --recovery`."""
