"""Every network passes ctseg's conformance kit, and is what it says it is."""

from __future__ import annotations

import pytest
import torch
from ctseg_monai import SUMMARIES
from monai.networks.nets import AttentionUnet, SegResNet, SwinUNETR, UNet

from ctseg.conformance import BoundCheck, checks
from ctseg.errors import SettingError
from ctseg.networks.blocks import count_parameters
from ctseg.plugins.host import load

SMALL = {
    "monai-unet": {"width": 4, "depth": 3, "hidden": 4},
    "monai-attention-unet": {"width": 4, "depth": 2, "hidden": 4},
    "monai-segresnet": {"width": 8, "hidden": 4},
    "monai-swin-unetr": {"width": 12, "window": 4, "hidden": 4},
}
BODIES = {
    "monai-unet": UNet,
    "monai-attention-unet": AttentionUnet,
    "monai-segresnet": SegResNet,
    "monai-swin-unetr": SwinUNETR,
}
ALL = [check for name, settings in SMALL.items() for check in checks("segmenter", name, settings=settings)]


@pytest.mark.slow
@pytest.mark.parametrize("check", ALL, ids=lambda check: f"{check.subject.name}-{check.__name__}")
def test_conformance(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("name", SUMMARIES)
def test_it_is_monais_network(name: str) -> None:
    entry = load().get("segmenter", name)
    assert entry.package == "ctseg-monai"
    assert isinstance(entry.build(SMALL[name]).body, BODIES[name])


@pytest.mark.parametrize("name", SUMMARIES)
def test_logits_are_a_classifier_on_the_hidden_map(name: str) -> None:
    network = load().get("segmenter", name).build(SMALL[name]).eval()
    with torch.no_grad():
        found = network(torch.randn(1, 1, 45, 50).clamp(-1, 1))
        torch.testing.assert_close(found.logits, network.classifier(found.hidden))
    assert found.hidden.shape == (1, 4, 45, 50)


@pytest.mark.parametrize("name", SUMMARIES)
def test_width_changes_the_size(name: str) -> None:
    entry, small = load().get("segmenter", name), SMALL[name]
    wider = {**small, "width": 2 * small["width"]}
    assert count_parameters(entry.build(wider)) > 2 * count_parameters(entry.build(small))


def test_a_width_that_group_norm_cannot_split_is_refused() -> None:
    with pytest.raises(SettingError, match="width"):
        load().get("segmenter", "monai-segresnet").build({"width": 12})
