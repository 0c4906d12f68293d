"""The built-ins, registered through the same hooks as any plugin.

Factories import what they need when they are called; this module stays light.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ctseg.metrics.catalogue import METRICS
from ctseg.plugins.hookspecs import CONTRACT, Register, hookimpl

CTSEG_CONTRACT = CONTRACT
PAPER = "Dong, Fu et al., AMD-DAS"
DEFINED = "docs/evaluation.md"


@hookimpl
def ctseg_register_similarity_metrics(register: Register) -> None:
    """The paper's similarity, its normalised form and the imagehash family."""
    register(
        "amd",
        _amd_metric,
        summary="DCT fingerprint and lesion area, equations (8) to (17)",
        settings=_settings("matching", "AmdMetricSettings"),
        reference=f"{PAPER}, 3.1.4",
    )
    register(
        "amd-normalised",
        _normalised_metric,
        summary="amd in shares of bits and ranks of lesion area: for any data set, window and size",
        settings=_settings("matching", "NormalisedMetricSettings"),
        reference=f"after {PAPER}, 3.1.4, whose weights it names as a limit",
    )
    for name, kind in (("phash", "phash"), ("dhash", "dhash"), ("whash", "whash"), ("ahash", "average_hash")):
        register(
            name,
            _hash_metric(kind),
            summary=f"imagehash's {kind} and lesion area",
            settings=_settings("matching", "HashMetricSettings"),
            reference="imagehash; lesion term as amd",
        )


@hookimpl
def ctseg_register_metrics(register: Register) -> None:
    """The metrics of `ctseg.metrics.catalogue`."""
    for metric in METRICS:
        summary = f"{metric.heading}: {metric.definition}"
        register(metric.name, partial(replace, metric), summary=summary, reference=metric.reference or DEFINED)


@hookimpl
def ctseg_register_generators(register: Register) -> None:
    """The paper's generator and CycleGAN's."""
    register(
        "amd",
        _amd_generator,
        summary="encoders, one shared fusion block, decoders",
        settings=_settings("networks", "AmdGeneratorSettings"),
        reference=f"{PAPER}, 3.1.3 and 4.2.1",
    )
    register(
        "resnet",
        _resnet_generator,
        summary="CycleGAN's ResNet generators, one for each direction",
        settings=_settings("networks", "ResnetGeneratorSettings"),
        reference="Zhu et al. 2017, Unpaired image-to-image translation",
    )


@hookimpl
def ctseg_register_segmenters(register: Register) -> None:
    """The paper's FCN and Table 5's U-Net."""
    register(
        "fcn",
        _fcn,
        summary="FCN on VGG-16 with skips by addition",
        settings=_settings("networks", "FcnSettings"),
        reference="Long et al. 2015 on Simonyan and Zisserman 2015; " + PAPER + ", 4.2.1",
    )
    register(
        "unet",
        _unet,
        summary="U-Net with batch norm",
        settings=_settings("networks", "UNetSettings"),
        reference="Ronneberger et al. 2015",
    )


@hookimpl
def ctseg_register_brain_extractors(register: Register) -> None:
    """Muschelli's procedure without FSL, and a small network."""
    register(
        "muschelli",
        _muschelli,
        summary="threshold, smooth, cut narrow passages, largest part inside bone, fill",
        settings=_settings("preprocess", "MuschelliSettings"),
        reference="Muschelli et al. 2017, Validated automatic brain extraction of head CT images",
    )
    register(
        "brain-network",
        _brain_network,
        summary="small U-Net at 2 mm, trained on phantoms and the CT template; edge on the scan's own pixels",
        settings=_settings("preprocess", "BrainNetworkSettings"),
        reference="docs/brain-network.md",
    )


@hookimpl
def ctseg_register_models(register: Register) -> None:
    """Whatever lies in `ctseg.models`; that module says how a model gets in."""
    from ctseg.models import SHIPPED, register_folder

    register_folder(register, SHIPPED)


def _settings(module: str, name: str) -> Any:
    """A settings class of `ctseg.MODULE.settings`, imported when it is needed."""

    def load() -> Any:
        from importlib import import_module

        return getattr(import_module(f"ctseg.{module}.settings"), name)

    return load


def _amd_metric(**settings: Any) -> Any:
    from ctseg.matching.metrics import AmdMetric

    return AmdMetric(**settings)


def _normalised_metric(**settings: Any) -> Any:
    from ctseg.matching.metrics import NormalisedMetric

    return NormalisedMetric(**settings)


def _hash_metric(kind: str) -> Any:
    def build(**settings: Any) -> Any:
        from ctseg.matching.metrics import ImageHashMetric

        return ImageHashMetric(kind=kind, **settings)

    return build


def _amd_generator(**settings: Any) -> Any:
    from ctseg.networks.generator import AmdGenerator

    return AmdGenerator(**settings)


def _resnet_generator(**settings: Any) -> Any:
    from ctseg.networks.resnet_generator import ResnetGenerator

    return ResnetGenerator(**settings)


def _fcn(**settings: Any) -> Any:
    from ctseg.networks.fcn import FcnVgg16

    return FcnVgg16(**settings)


def _unet(**settings: Any) -> Any:
    from ctseg.networks.unet import UNet

    return UNet(**settings)


def _muschelli(**settings: Any) -> Any:
    from ctseg.preprocess.brain import MuschelliExtractor

    return MuschelliExtractor(**settings)


def _brain_network(**settings: Any) -> Any:
    from ctseg.preprocess.brain_network import BrainNetworkExtractor

    return BrainNetworkExtractor(**settings)
