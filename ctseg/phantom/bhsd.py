"""How large and how bright bleeds of patients are: quantiles of BHSD.

They are those of `bhsd.csv`, one row for each of 1,873 bleeds that readers drew on 192 head CTs of RSNA 2019
(BHSD: Wu et al., MLMI 2023), measured by the US FDA (DIDSR/framework-for-synthetic-ICH-to-assess-AI-generalizability,
CC0). A row is a part: one connected piece of one kind of bleed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVELS = (0.01, 0.05, 0.15, 0.25, 0.35, 0.50, 0.65, 0.75, 0.85, 0.90, 0.95, 0.97, 0.99)
"""Cumulative shares that the columns of HU and mL below belong to."""


@dataclass(frozen=True)
class BleedStatistics:
    """Quantiles of one kind of bleed at `LEVELS`."""

    hu: tuple[float, ...]
    """Mean HU inside the mask of a part."""
    ml: tuple[float, ...]
    """ML of a part, all parts together."""
    main_ml: tuple[float, ...]
    """ML of the largest part of a scan."""
    further_ml: tuple[float, ...]
    """ML of every other part of a scan."""
    parts: tuple[int, ...]
    """Parts in a scan that shows this kind, at 40 equal steps of the cumulative share."""
    large_ml: float = np.inf
    """From this size on HU follows `large_hu`, below it `small_hu`: larger bleeds are brighter, and vary less."""
    small_hu: tuple[float, ...] = ()
    large_hu: tuple[float, ...] = ()

    def parts_at(self, share: float) -> float:
        """Parts in a scan at a cumulative share."""
        steps = (np.arange(len(self.parts)) + 0.5) / len(self.parts)
        return float(np.interp(share, steps, self.parts))

    def hu_of(self, ml: float) -> tuple[float, ...]:
        """Quantiles of mean HU among parts of about this size."""
        if not self.small_hu:
            return self.hu
        return self.large_hu if ml >= self.large_ml else self.small_hu


BHSD: dict[str, BleedStatistics] = {
    "intraparenchymal": BleedStatistics(
        hu=(29.3, 33.9, 38.7, 42.5, 44.7, 47.8, 51.4, 53.7, 56.2, 57.6, 60.3, 60.6, 66.0),
        ml=(0.034, 0.047, 0.123, 0.222, 0.423, 1.252, 3.372, 7.549, 17.524, 34.029, 55.796, 71.192, 101.671),
        main_ml=(0.117, 0.253, 1.091, 2.035, 3.915, 7.578, 13.544, 31.653, 47.043, 56.812, 74.887, 98.072, 114.963),
        further_ml=(0.032, 0.041, 0.069, 0.116, 0.164, 0.338, 0.664, 1.099, 1.831, 2.646, 4.636, 6.242, 9.096),
        parts=(1,) * 21 + (2,) * 9 + (3,) * 4 + (4,) * 3 + (5, 7, 9),
        large_ml=5.0,
        small_hu=(29.3, 33.7, 38.1, 40.5, 42.8, 45.9, 49.5, 51.6, 54.9, 56.6, 59.3, 60.5, 65.6),
        large_hu=(29.5, 37.8, 44.5, 46.5, 49.6, 52.3, 54.6, 55.8, 57.9, 59.0, 60.3, 61.8, 64.0),
    ),
    "intraventricular": BleedStatistics(
        hu=(22.3, 26.6, 31.1, 34.1, 36.4, 39.6, 42.9, 45.4, 49.4, 51.6, 54.1, 57.5, 62.6),
        ml=(0.031, 0.052, 0.100, 0.166, 0.288, 0.541, 1.061, 2.023, 3.920, 6.507, 12.743, 20.523, 48.070),
        main_ml=(0.049, 0.136, 0.276, 0.394, 0.601, 1.308, 3.253, 4.812, 12.177, 16.545, 37.200, 47.043, 52.408),
        further_ml=(0.030, 0.044, 0.080, 0.110, 0.192, 0.341, 0.657, 0.990, 1.903, 2.968, 4.773, 6.294, 10.126),
        parts=(1,) * 8 + (2,) * 13 + (3,) * 8 + (4,) * 6 + (5,) * 3 + (6, 8),
        large_ml=2.0,
        small_hu=(21.9, 25.3, 30.6, 33.5, 35.2, 38.1, 41.6, 43.3, 46.6, 49.4, 52.0, 54.5, 60.4),
        large_hu=(28.5, 30.9, 34.5, 38.5, 40.2, 43.4, 48.3, 50.5, 52.0, 53.8, 57.7, 59.4, 64.1),
    ),
    "subarachnoid": BleedStatistics(
        hu=(25.8, 31.9, 36.5, 38.7, 40.7, 43.3, 46.1, 48.6, 52.0, 53.6, 57.4, 60.3, 65.1),
        ml=(0.008, 0.024, 0.051, 0.083, 0.112, 0.183, 0.303, 0.473, 0.871, 1.448, 2.603, 4.986, 12.299),
        main_ml=(0.075, 0.132, 0.240, 0.370, 0.565, 1.013, 2.346, 3.215, 6.639, 11.312, 26.918, 30.857, 54.026),
        further_ml=(0.008, 0.023, 0.047, 0.073, 0.102, 0.160, 0.254, 0.382, 0.599, 0.894, 1.672, 2.155, 4.987),
        parts=(1,) * 6
        + (2,) * 4
        + (3,) * 4
        + (4,) * 2
        + (5,) * 2
        + (6,) * 4
        + (7,) * 2
        + (8, 10, 11, 12, 13, 15, 16, 17, 18, 19, 20, 23, 26, 28, 30, 38),
        large_ml=1.0,
        small_hu=(25.6, 31.7, 36.2, 38.2, 40.3, 42.7, 45.8, 48.4, 51.9, 53.4, 57.2, 60.3, 65.2),
        large_hu=(29.1, 34.8, 40.0, 42.1, 43.8, 45.4, 47.0, 48.8, 52.6, 55.0, 57.5, 59.2, 61.0),
    ),
    "subdural": BleedStatistics(
        hu=(21.0, 30.1, 38.9, 44.4, 47.9, 51.2, 55.9, 58.6, 62.1, 64.2, 68.3, 69.2, 75.0),
        ml=(0.016, 0.026, 0.095, 0.161, 0.251, 0.545, 1.132, 2.508, 7.315, 15.217, 42.947, 60.777, 85.632),
        main_ml=(0.479, 0.643, 0.902, 1.466, 2.480, 4.768, 11.284, 22.324, 39.140, 59.290, 70.722, 86.752, 137.692),
        further_ml=(0.015, 0.024, 0.068, 0.109, 0.156, 0.241, 0.415, 0.566, 1.007, 1.624, 3.040, 4.863, 11.141),
        parts=(1,) * 16 + (2,) * 5 + (3,) * 5 + (4,) * 5 + (5,) * 3 + (6,) + (7,) * 2 + (8, 10, 12),
    ),
    "epidural": BleedStatistics(
        hu=(37.5, 38.5, 48.7, 51.3, 52.0, 56.7, 59.7, 62.0, 64.7, 66.2, 67.9, 69.8, 76.1),
        ml=(0.071, 0.101, 0.212, 0.495, 1.379, 3.933, 5.941, 11.236, 16.748, 19.870, 36.773, 50.894, 105.848),
        main_ml=(0.420, 0.450, 1.106, 2.227, 2.974, 5.067, 10.952, 15.813, 17.816, 31.301, 38.176, 70.791, 112.480),
        further_ml=(0.069, 0.071, 0.077, 0.104, 0.130, 0.139, 0.189, 0.220, 0.788, 2.415, 4.042, 4.693, 5.343),
        parts=(1,) * 31 + (2,) * 6 + (3,) * 3,
    ),
}
"""Rows of `bhsd.csv` with a mean below 5 HU (two, of erased pixels) are left out."""
