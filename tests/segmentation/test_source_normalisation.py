"""Source images are normalised by `source_mean` and `source_std` wherever they pass the network, and CT is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ctseg.augment.brightness import BrightnessFactor
from ctseg.augment.flips import Flips
from ctseg.errors import SettingError
from ctseg.io.slices import SliceSet
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.unet import UNet
from ctseg.runs import ModelHeader, read_header
from ctseg.segmentation import batches, samples, steps, train
from ctseg.segmentation.after_epoch import make_validation
from ctseg.segmentation.source_normalisation import AS_THE_TARGET, source_normalisation
from ctseg.segmentation.terms import Batch
from ctseg.selection.validation import choose_validation, gather
from ctseg.training.device import make_fabric
from ctseg.training.presets import ADAPTATION
from ctseg.training.settings import AdaptationSettings, FinetuneSettings

MR, CT = (0.086, 0.167), (0.074, 0.148)
"""Mean and deviation in the released stage 2."""
FABRIC = make_fabric("cpu", "32")


def released(**more: Any) -> AdaptationSettings:
    small = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "discriminator_width": 2, "channels_last": False}
    return AdaptationSettings(**{**ADAPTATION["released"], **small, "segmenter_settings": {}, **more})


def network(**more: Any) -> FcnVgg16:
    torch.manual_seed(0)
    return FcnVgg16(**{"width": 4, "input_mean": CT[0], "input_std": CT[1], **more})


def make(settings: AdaptationSettings | FinetuneSettings) -> steps.SegmenterTraining:
    return steps.make_training(network(), settings, device=torch.device("cpu"), autocast=nullcontext, seed=3)


def plain_copy(segmenter: nn.Module) -> FcnVgg16:
    """The same weights in a network that takes its images as they are."""
    copy = network(input_mean=0.5, input_std=0.5)
    copy.load_state_dict(segmenter.state_dict())
    return copy


def first_inputs(segmenter: nn.Module) -> list[Tensor]:
    """What the first convolution of the FCN gets, pass by pass."""
    seen: list[Tensor] = []
    segmenter.stages[0][0].register_forward_hook(lambda _, given, __: seen.append(given[0].detach().clone()))
    return seen


def grey(images: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]."""
    return (images + 1) / 2


def test_a_step_of_the_released_order_written_out() -> None:
    """The source by 0.086 and 0.167 in train mode, then CT by 0.074 and 0.148 with batch norm's running statistics."""
    training, draw = make(released()), torch.Generator().manual_seed(1)
    source, target = (torch.rand(2, 1, 32, 48, generator=draw) * 2 - 1 for _ in range(2))
    plain = plain_copy(training.segmenter).train()
    with torch.no_grad():
        on_source = plain((grey(source) - MR[0]) / MR[1])  # moves the running statistics that CT is seen with
        on_target = plain.eval()((grey(target) - CT[0]) / CT[1])
        as_ct = plain_copy(training.segmenter).train()((grey(source) - CT[0]) / CT[1])
    batch = Batch(source, (source > 0.6).float(), target, np.random.default_rng(0))
    losses = steps.segmenter_step(training, batch)
    for found, output in ((batch.source_output, on_source), (batch.target_output, on_target)):
        torch.testing.assert_close(found.hidden, output.hidden, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.logits, output.logits, rtol=1e-4, atol=1e-5)
    cross_entropy = functional.binary_cross_entropy_with_logits(on_source.logits, batch.masks)
    assert losses["segmentation"].item() == pytest.approx(cross_entropy.item(), rel=1e-4)
    assert (as_ct.hidden - on_source.hidden).abs().max() > 1e-2  # it matters


def test_flips_and_brightness_come_first(make_set: Callable[..., SliceSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the released data file: mirrored and brightened as grey values of 0 to 255, then divided, then normalised.

    It rounds the brightened values to whole ones, half a step of 255 at most; that is all that may differ.
    """
    settings, source = released(lambda_adv=0.0), make_set("mr", 16, 32, 1)
    training, rows = make(settings), np.array([0, 3])
    factors, flips = [1.2, 0.85], [(True, False), (False, True)]
    ranges = batches.augmentation_ranges(settings)
    assert (ranges.flip_probability, ranges.brightness) == (0.5, 0.2)

    mirrored = Flips(*(np.array(part) for part in zip(*flips, strict=True)))
    monkeypatch.setattr(Flips, "draw", lambda *_: mirrored)
    monkeypatch.setattr(BrightnessFactor, "draw", lambda *_: BrightnessFactor(np.array(factors)))
    images, masks = batches.source_batch(source, rows, settings, np.random.default_rng(0), torch.device("cpu"))
    seen = first_inputs(training.segmenter)
    steps.segmenter_step(training, Batch(images, masks, None, np.random.default_rng(0)))
    for place, (row, factor, (left_right, front_back)) in enumerate(zip(rows, factors, flips, strict=True)):
        picture = source.images[row].astype(float)
        picture = picture[:, ::-1] if left_right else picture
        picture = picture[::-1] if front_back else picture
        picture = np.minimum(picture * factor, 255)
        expected = (picture / 255 - MR[0]) / MR[1]
        np.testing.assert_allclose(seen[0][place, 0].numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preset", ["default", "demo", "plus", "smoke"])
def test_the_other_presets_give_the_network_the_very_tensor(preset: str) -> None:
    settings = AdaptationSettings(**{**ADAPTATION[preset], "segmenter_settings": {}})
    assert settings.source_mean is None
    assert settings.source_std is None
    given = torch.rand(2, 1, 8, 8)
    assert source_normalisation(network(), settings)(given) is given
    assert source_normalisation(nn.Conv2d(1, 1, 1), settings).facts == {}


def test_only_released_and_paper_have_constants_of_their_own() -> None:
    found = {name: (values.get("source_mean"), values.get("source_std")) for name, values in ADAPTATION.items()}
    assert {name for name, pair in found.items() if pair == MR} == {"released", "paper"}
    assert {pair for pair in found.values() if pair != MR} == {(None, None)}


def test_constants_equal_to_the_targets_change_nothing() -> None:
    settings = released(source_mean=CT[0], source_std=CT[1])
    given = torch.rand(2, 1, 8, 8)
    assert source_normalisation(network(), settings)(given) is given


@pytest.mark.parametrize(
    ("given", "mean", "std"), [({"source_mean": 0.2}, 0.2, CT[1]), ({"source_std": 0.3}, CT[0], 0.3)]
)
def test_one_of_the_two_leaves_the_other_as_the_targets(given: dict[str, float], mean: float, std: float) -> None:
    settings = released(**{"source_mean": None, "source_std": None, **given})
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    segmenter = network()
    seen = segmenter.normalised(source_normalisation(segmenter, settings)(images))
    torch.testing.assert_close(seen, (grey(images) - mean) / std, rtol=1e-5, atol=1e-5)


def test_a_segmenter_without_a_normalisation_takes_the_numbers_as_they_are() -> None:
    segmenter, images = UNet(width=4, depth=1), torch.rand(2, 1, 8, 8) * 2 - 1
    seen = source_normalisation(segmenter, released())(images)
    torch.testing.assert_close(seen, (grey(images) - MR[0]) / MR[1])


def test_finetune_has_labelled_ct_and_its_constants() -> None:
    assert not {"source_mean", "source_std"} & FinetuneSettings.model_fields.keys()
    assert make(FinetuneSettings(channels_last=False)).of_source is AS_THE_TARGET


def test_batch_norm_is_recalibrated_on_source_images_as_they_are_trained_on(
    make_set: Callable[..., SliceSet], tmp_path: Path
) -> None:
    source, target = make_set("mr", 16, 32, 1), make_set("ct", 16, 32, 2, labelled=False)
    still = {"flip_probability": 0.0, "brightness": 0.0}
    settings = released(matched=False, recalibrate_batch_norm=1, lambda_adv=0.0, **still)
    segmenter = network()
    seen = first_inputs(segmenter)
    header = ModelHeader("segmenter", "fcn", {}, "ctseg", "0")
    summary = train.train_adaptation(
        source, target, None, segmenter, settings, tmp_path / "run", fabric=FABRIC, header=header, seed=3
    )
    assert (summary["source_mean"], summary["source_std"]) == MR
    assert read_header(tmp_path / "run").training["source_mean"] == MR[0]
    lowest = [float(given.min()) for given in seen]
    of_source, of_target = -MR[0] / MR[1], -CT[0] / CT[1]
    near = [min((of_source, of_target), key=lambda value: abs(value - low)) for low in lowest]
    assert np.allclose(lowest, near, atol=1e-4)  # the background of each pass says which constants it had
    # The step, batch norm on as many source slices, the validation's source, its target twice, and the picture's two.
    assert near == [of_source, of_source, of_source, of_target, of_target, of_source, of_target]


def test_validation_and_pictures_see_the_source_as_training_does(
    make_set: Callable[..., SliceSet], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source, target = make_set("mr", 16, 32, 1), make_set("ct", 16, 32, 2, labelled=False)
    training = make(released())
    slices = choose_validation(source.rows("val"), target.rows("train"), 0)
    validation = make_validation(slices, source, target, training)
    outputs = gather(training.final, validation, 0)
    plain, (mr, ct) = plain_copy(training.segmenter).eval(), (slices.source_rows, slices.target_rows)
    with torch.no_grad():
        for found, images, (mean, std) in (
            (outputs.source, source.images[mr], MR),
            (outputs.target, target.images[ct], CT),
        ):
            expected = plain(((torch.from_numpy(images.astype(np.float32)) / 255 - mean) / std)[:, None]).logits
            torch.testing.assert_close(torch.from_numpy(found), torch.sigmoid(expected)[:, 0], rtol=1e-4, atol=1e-5)
    drawn: list[Any] = []
    monkeypatch.setattr(samples, "grid_png", lambda *given: drawn.append(given))
    seen = first_inputs(training.segmenter)
    samples.write_samples(tmp_path / "a.png", training.final, validation, source.rows("train"))
    assert [round(float(given.min()), 3) for given in seen] == [round(-MR[0] / MR[1], 3), round(-CT[0] / CT[1], 3)]


def test_labelled_ct_as_the_source_is_refused(make_set: Callable[..., SliceSet]) -> None:
    source, target = make_set("ct", 16, 32, 1), make_set("ct", 16, 32, 2, labelled=False)
    with pytest.raises(
        SettingError, match="^das-train: source_mean and source_std are for MR and pseudo-CT, and ct-toy"
    ):
        train.check_adaptation(source, target, None, released(matched=False))
    train.check_adaptation(source, target, None, released(matched=False, source_mean=None, source_std=None))
    source.info["pseudo"] = True
    train.check_adaptation(source, target, None, released(matched=False))
