"""Registers what the package adds to ctseg. Keep it light: what a part needs is imported when the part is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctseg

CTSEG_CONTRACT = 2
"""The version of ctseg's plugin contract that this package follows."""


@ctseg.hookimpl
def ctseg_register_similarity_metrics(register: Any) -> None:
    """Add the similarity metric `plugin-template`."""

    def build(**settings: Any) -> Any:
        from ctseg_plugin_template.similarity_metric import SimilarityMetric

        return SimilarityMetric(**settings)

    def settings() -> Any:
        from ctseg_plugin_template.settings import SimilarityMetricSettings

        return SimilarityMetricSettings

    register(
        "plugin-template",
        build,
        summary="grey value histograms",
        settings=settings,
        reference="the template of ctseg",
    )


@ctseg.hookimpl
def ctseg_register_metrics(register: Any) -> None:
    """Add the metric `plugin-template`."""

    def build(**settings: Any) -> Any:
        from ctseg_plugin_template.metric import make_metric

        return make_metric(**settings)

    def settings() -> Any:
        from ctseg_plugin_template.settings import MetricSettings

        return MetricSettings

    register(
        "plugin-template",
        build,
        summary="F-score",
        settings=settings,
        reference="the template of ctseg",
    )


@ctseg.hookimpl
def ctseg_register_generators(register: Any) -> None:
    """Add the generator `plugin-template`."""

    def build(**settings: Any) -> Any:
        from ctseg_plugin_template.generator import Generator

        return Generator(**settings)

    def settings() -> Any:
        from ctseg_plugin_template.settings import GeneratorSettings

        return GeneratorSettings

    register(
        "plugin-template",
        build,
        summary="three convolutions",
        settings=settings,
        reference="the template of ctseg",
    )


@ctseg.hookimpl
def ctseg_register_segmenters(register: Any) -> None:
    """Add the segmenter `plugin-template`."""

    def build(**settings: Any) -> Any:
        from ctseg_plugin_template.segmenter import Segmenter

        return Segmenter(**settings)

    def settings() -> Any:
        from ctseg_plugin_template.settings import SegmenterSettings

        return SegmenterSettings

    register(
        "plugin-template",
        build,
        summary="three convolutions",
        settings=settings,
        reference="the template of ctseg",
    )


@ctseg.hookimpl
def ctseg_register_brain_extractors(register: Any) -> None:
    """Add the brain extractor `plugin-template`."""

    def build(**settings: Any) -> Any:
        from ctseg_plugin_template.brain_extractor import BrainExtractor

        return BrainExtractor(**settings)

    def settings() -> Any:
        from ctseg_plugin_template.settings import BrainExtractorSettings

        return BrainExtractorSettings

    register(
        "plugin-template",
        build,
        summary="largest soft tissue",
        settings=settings,
        reference="the template of ctseg",
    )


@ctseg.hookimpl
def ctseg_register_models(register: Any) -> None:
    """Add every NAME.safetensors in `models`, with its card NAME.json beside it."""
    from ctseg.models import register_folder

    register_folder(register, Path(__file__).with_name("models"))


@ctseg.hookimpl
def ctseg_register_commands(app: Any) -> None:
    """Add the command `ctseg plugin-template`."""
    from ctseg_plugin_template.command import count

    examples = "Examples:\n\n  ctseg plugin-template sets/mr\n\n  ctseg plugin-template sets/ct"
    app.command("plugin-template", epilog=examples)(count)
