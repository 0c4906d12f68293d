"""The paper's Tables 2 to 5 as studies of ctseg's own commands: `ctseg reproduce`."""

from __future__ import annotations

from typing import Any

from ctseg import hookimpl


@hookimpl
def ctseg_register_commands(app: Any) -> None:
    """Add `ctseg reproduce` and the small commands that its studies need."""
    from ctseg_reproduce.command import add_to

    add_to(app)


@hookimpl
def ctseg_register_brain_extractors(register: Any) -> None:
    """Add the extractor that keeps the skull, which one row of Table 3 needs."""
    register(
        "whole-head",
        _whole_head,
        summary="the whole head with its skull, for one row of Table 3: no brain is extracted",
        reference="Dong et al., AMD-DAS, 4.3.3: DAS on CT images (with the skull)",
    )


def _whole_head() -> Any:
    from ctseg_reproduce.whole_head import WholeHeadExtractor

    return WholeHeadExtractor()
