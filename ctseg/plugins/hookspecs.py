"""The plugin contract: seven hooks. Entry-point group `ctseg`, marker `ctseg.hookimpl`, contract version `CONTRACT`.

Every hook gets `register(name, factory, summary=..., settings=..., reference=...)`. `factory(**settings)` makes the
object and is only called when it is used: import heavy parts inside it. `settings` is a `ctseg.settings.Settings`
subclass, or a function that returns one, and holds the plugin's typed settings with defaults, bounds and help.
`reference` says where the method comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

CONTRACT = 2
"""Raised when a hook or protocol changes so that an older plugin would break; the older form then keeps working for two
minor releases. A plugin module says with `CTSEG_CONTRACT = 2` which form it has, 1 where it says nothing. An older
ctseg leaves a newer form out and says what to upgrade.

2: `ctseg_register_metrics` adds metrics of `ctseg evaluate`. In 1 it added similarity metrics, which have
`ctseg_register_similarity_metrics` now.
"""

hookspec = pluggy.HookspecMarker("ctseg")
hookimpl = pluggy.HookimplMarker("ctseg")
Register = Callable[..., None]


@hookspec
def ctseg_register_similarity_metrics(register: Register) -> None:
    """Add similarity metrics of `ctseg match`: `factory(**settings) -> ctseg.plugins.protocols.SimilarityMetric`."""


@hookspec
def ctseg_register_metrics(register: Register) -> None:
    """Add metrics of `ctseg evaluate`: `factory(**settings) -> ctseg.metrics.registry.Metric`."""


@hookspec
def ctseg_register_generators(register: Register) -> None:
    """Add generators: `factory(**settings) -> nn.Module` that follows `ctseg.plugins.protocols.Generator`."""


@hookspec
def ctseg_register_segmenters(register: Register) -> None:
    """Add segmenters: `factory(**settings) -> nn.Module` that follows `ctseg.plugins.protocols.Segmenter`."""


@hookspec
def ctseg_register_brain_extractors(register: Register) -> None:
    """Add brain extractors: `factory(**settings) -> ctseg.plugins.protocols.BrainExtractor`."""


@hookspec
def ctseg_register_models(register: Register) -> None:
    """Add trained models: `factory() -> Path` of `NAME.safetensors`, with the card `NAME.json` beside it.

    `ctseg.models.register_folder` registers all that lie in a folder.
    """


@hookspec
def ctseg_register_commands(app: Any) -> None:
    """Add subcommands to the typer application `app`; import heavy parts inside the command."""
