"""Settings with defaults, bounds and help: what `--set key=value` reaches and `ctseg plugins show` prints."""

from __future__ import annotations

from pydantic import Field

from ctseg.settings import Settings


class SimilarityMetricSettings(Settings):
    """Of the similarity metric."""

    bins: int = Field(32, description="bins of the histogram", ge=2, le=256)


class MetricSettings(Settings):
    """Of the metric."""

    beta: float = Field(2.0, description="a missed voxel weighs beta squared times a false positive one", gt=0, le=10)


class GeneratorSettings(Settings):
    """Of the generator."""

    width: int = Field(16, description="channels", ge=1, le=512)


class SegmenterSettings(Settings):
    """Of the segmenter."""

    width: int = Field(16, description="channels", ge=1, le=512)


class BrainExtractorSettings(Settings):
    """Of the brain extractor."""

    hu: tuple[float, float] = Field((0.0, 100.0), description="HU of brain")
