"""Which weights each term moves, and which it must not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctseg.plugins.protocols import SegmenterOutput
from ctseg.segmentation import steps
from ctseg.segmentation.terms import Batch, discriminator_accuracy
from ctseg.training.settings import AdaptationSettings, FinetuneSettings


class TinySegmenter(nn.Module):
    """A normed hidden map and a classifier beside it, so that L_adv cannot reach the classifier."""

    hidden_channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.classifier = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)

    def forward(self, images: Tensor) -> SegmenterOutput:
        hidden = self.norm(self.conv(images))
        return SegmenterOutput(self.classifier(hidden), hidden)


def make(**settings: object) -> steps.SegmenterTraining:
    torch.manual_seed(0)
    chosen = AdaptationSettings(discriminator_width=2, channels_last=False, **settings)
    return steps.make_training(TinySegmenter(), chosen, device=torch.device("cpu"), autocast=nullcontext, seed=3)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


@pytest.fixture
def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    source, target = (torch.rand(4, 1, 32, 32, generator=draw) * 2 - 1 for _ in range(2))
    return Batch(source, (source > 0.6).float(), target * 0.5 + 0.4, np.random.default_rng(0))


def test_segmenter_step_moves_the_segmenter_alone(batch: Batch) -> None:
    training = make(lambda_adv=0.1)
    discriminator = training.adversary.discriminator
    before, seen = snapshot(training.segmenter), snapshot(discriminator)
    steps.segmenter_step(training, batch)
    assert {"conv.weight", "norm.weight", "classifier.weight"} <= moved(before, training.segmenter)
    assert not moved(seen, discriminator)
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())


def test_discriminator_step_moves_the_discriminator_alone(batch: Batch) -> None:
    training = make(lambda_adv=0.1)
    steps.segmenter_step(training, batch)
    assert not batch.source_output.hidden.requires_grad
    assert not batch.target_output.hidden.requires_grad
    before, seen = snapshot(training.segmenter), snapshot(training.adversary.discriminator)
    losses = training.adversary.discriminator_step(batch)
    assert not moved(before, training.segmenter)
    assert moved(seen, training.adversary.discriminator) == set(seen)
    assert set(losses) == {"discriminator", "discriminator_accuracy"}


@pytest.mark.parametrize("form", ["log", "lsq"])
@pytest.mark.parametrize("kind", ["adversary", "output_adversary"])
def test_the_losses_are_equations_21_and_22_of_the_two_domains_maps(batch: Batch, kind: str, form: str) -> None:
    """Written out: source and target swapped anywhere, or one in the other's place, gives another number."""
    training = make(lambda_adv=0.1, lambda_adv_output=0.1, gan=form)
    adversary = getattr(training, kind)
    moving = steps.segmenter_step(training, batch)
    with torch.no_grad():  # the discriminator is the one that the segmenter saw, the maps are those of its pass
        source, target = (
            adversary.discriminator(adversary.maps(output)) for output in (batch.source_output, batch.target_output)
        )
    assert (source - target).abs().mean() > 1e-4
    passes, expected = {
        "log": (-target.sigmoid().log(), -source.sigmoid().log().mean() - (1 - target.sigmoid()).log().mean()),
        "lsq": ((target - 1) ** 2, ((source - 1) ** 2).mean() + (target**2).mean()),
    }[form]
    assert moving[adversary.name].item() == pytest.approx(passes.mean().item(), rel=1e-5)
    found = adversary.discriminator_step(batch)[adversary.discriminator_name]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adversary", "output_adversary"])
def test_the_discriminator_learns_that_the_source_is_1_and_the_target_0(batch: Batch, kind: str) -> None:
    """Equation (21) the right way round: source and target swapped would raise the target's logits."""
    training = make(lambda_adv=1e-6, lambda_adv_output=1e-6, lr=1e-6)
    for _ in range(60):
        steps.training_step(training, batch)
    adversary = getattr(training, kind)
    with torch.no_grad():
        source, target = (
            adversary.discriminator(adversary.maps(output)) for output in (batch.source_output, batch.target_output)
        )
    assert source.mean() > 0.5
    assert target.mean() < -0.5
    assert adversary.takes_for_source(batch.source_output).float().mean() > 0.9
    assert adversary.takes_for_source(batch.target_output).float().mean() < 0.1


def test_both_updates_see_the_hidden_maps_from_before_the_segmenters_update(batch: Batch) -> None:
    training = make(lambda_adv=0.1, lr=1.0)
    with torch.no_grad():
        before = training.segmenter(batch.images).hidden
    steps.segmenter_step(training, batch)
    torch.testing.assert_close(batch.source_output.hidden, before)
    with torch.no_grad():
        assert not torch.allclose(training.segmenter(batch.images).hidden, before, atol=1e-3)


def test_adversarial_loss_reaches_the_hidden_map_and_not_the_classifier(batch: Batch) -> None:
    """The gradient with the adversary minus the one without it is the adversary's own."""
    grads = []
    for weight in (1.0, 0.0):
        training = make(lambda_adv=weight)
        steps.segmenter_step(training, batch)
        grads.append({name: p.grad.clone() for name, p in training.segmenter.named_parameters()})
    changed = {name for name in grads[0] if not torch.allclose(grads[0][name], grads[1][name], atol=1e-7)}
    assert "conv.weight" in changed
    assert not changed & {"classifier.weight", "classifier.bias"}


def test_the_weight_scales_the_adversary(batch: Batch) -> None:
    grads = {}
    for weight in (0.0, 1.0, 3.0):
        training = make(lambda_adv=weight)
        steps.segmenter_step(training, batch)
        grads[weight] = training.segmenter.conv.weight.grad.clone()
    torch.testing.assert_close(grads[3.0] - grads[0.0], 3 * (grads[1.0] - grads[0.0]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_ct_pass_leaves_running_statistics_alone_when_frozen(batch: Batch, frozen: bool) -> None:
    statistics = []
    for weight in (0.0, 0.1):
        training = make(lambda_adv=weight, freeze_batch_norm_on_target=frozen)
        steps.segmenter_step(training, batch)
        assert training.segmenter.norm.training
        statistics.append(training.segmenter.norm.running_mean.clone())
    assert torch.equal(*statistics) is frozen


def test_every_step_zeroes_its_own_gradients(batch: Batch) -> None:
    """Stale gradients, left by anybody, do not change the update."""
    everything = {"lambda_adv": 0.1, "lambda_adv_output": 0.1, "lambda_consistency": 1.0, "consistency_from": 0}
    clean, stale = make(**everything), make(**everything)
    for module in stale.modules.values():
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 7.0)
    for training in (clean, stale):
        steps.training_step(training, replace(batch, rng=np.random.default_rng(0)))
    for name, module in clean.modules.items():
        assert not moved(snapshot(module), stale.modules[name])


def test_without_an_adversary_there_is_no_discriminator(batch: Batch) -> None:
    training = make(lambda_adv=0.0)
    assert set(training.modules) == {"segmenter"}
    assert set(steps.training_step(training, replace(batch, target=None))) == {"segmentation"}


def test_finetune_has_no_term(batch: Batch) -> None:
    settings = FinetuneSettings(channels_last=False)
    training = steps.make_training(TinySegmenter(), settings, device=torch.device("cpu"), autocast=nullcontext, seed=3)
    assert training.terms == ()
    assert set(training.modules) == {"segmenter"}
    assert set(steps.training_step(training, batch)) == {"segmentation"}


def test_the_adversary_on_outputs_reaches_the_classifier_and_its_discriminator_learns(batch: Batch) -> None:
    """Unlike the paper's, which sees the hidden map alone."""
    grads = []
    for weight in (1.0, 0.0):
        training = make(lambda_adv=0.0, lambda_adv_output=weight)
        losses = steps.segmenter_step(training, batch)
        grads.append(training.segmenter.classifier.weight.grad.clone())
        if weight:
            assert "adversarial_output" in losses
            discriminator = training.output_adversary.discriminator
            before, seen = snapshot(training.segmenter), snapshot(discriminator)
            training.output_adversary.discriminator_step(batch)
            assert not moved(before, training.segmenter)
            assert moved(seen, discriminator) == set(seen)
    assert not torch.allclose(*grads)


@dataclass(frozen=True)
class MeanLogit:
    """A term of a test's own."""

    segmenter: nn.Module
    weight: float
    first_epoch: int = 0
    name: str = "mean_logit"

    def loss(self, batch: Batch) -> Tensor:
        return self.segmenter(batch.target).logits.mean()


def test_a_further_term_moves_the_segmenter_by_its_weight(batch: Batch) -> None:
    grads = {}
    for weight in (0.0, 1.0, 3.0):
        training = make(lambda_adv=0.0)
        training = replace(training, consistency=MeanLogit(training.segmenter, weight))
        steps.segmenter_step(training, batch)
        grads[weight] = training.segmenter.classifier.bias.grad.clone()
    torch.testing.assert_close(grads[3.0] - grads[0.0], 3 * (grads[1.0] - grads[0.0]), rtol=1e-4, atol=1e-6)


def test_a_term_counts_from_its_first_epoch_on(batch: Batch) -> None:
    training = make(lambda_adv=0.0, lambda_consistency=1.0, consistency_from=2)
    named = ["consistency" in steps.segmenter_step(training, batch, epoch) for epoch in (0, 1, 2, 3)]
    assert named == [False, False, True, True]


@pytest.mark.parametrize(("warmup", "kept"), [(True, 0.1), (False, 0.99)])
def test_the_teacher_is_what_is_kept_and_no_optimiser_moves_it(batch: Batch, warmup: bool, kept: float) -> None:
    training = make(lambda_adv=0.0, lambda_consistency=1.0, consistency_from=0, ema_warmup=warmup)
    assert training.final is training.consistency.teacher
    before = snapshot(training.final)
    steps.training_step(training, batch)
    assert not moved(before, training.final)
    training.consistency.update_teacher(0)
    assert moved(before, training.final)
    # In the first step the teacher takes nine tenths of the student, or the hundredth of a fixed decay.
    for name, mine in training.final.named_parameters():
        student = dict(training.segmenter.named_parameters())[name]
        torch.testing.assert_close(mine, kept * before[name] + (1 - kept) * student)
    assert make().final is not None
    assert make().consistency is None


@pytest.mark.slow
def test_discriminator_learns_to_tell_domains_apart(batch: Batch) -> None:
    training = make(lambda_adv=1e-6, lr=1e-4)
    losses = [steps.training_step(training, batch) for _ in range(60)]
    assert losses[-1]["discriminator"] < 0.5 * losses[0]["discriminator"]
    assert losses[-1]["discriminator_accuracy"] == 1.0


@pytest.mark.parametrize(("form", "boundary"), [("log", 0.0), ("lsq", 0.5)])
def test_accuracy_counts_each_domain_half(form: str, boundary: float) -> None:
    source = boundary + 0.2 * torch.tensor([1.0, 1.0, 1.0, -1.0])  # so near that another boundary counts otherwise
    target = boundary + 0.2 * torch.tensor([-1.0, 1.0, -1.0, -1.0, -1.0])
    assert discriminator_accuracy(source, target, form).item() == pytest.approx(0.5 * (0.75 + 0.8))


def test_clip_bounds_the_update(batch: Batch) -> None:
    training = make(lambda_adv=0.0, lr=1.0, momentum=0.0, clip_gradient=1e-3)
    before = [p.detach().clone() for p in training.segmenter.parameters()]
    steps.segmenter_step(training, batch)
    pairs = zip(training.segmenter.parameters(), before, strict=True)
    change = torch.stack([(p - q).norm() for p, q in pairs]).norm()
    assert change.item() == pytest.approx(1e-3, rel=1e-2)


def test_optimisers_are_the_ones_asked_for() -> None:
    sgd, adam = make(), make(optimiser="adam", lr=1e-3)
    assert isinstance(sgd.optimiser, torch.optim.SGD)
    assert (sgd.optimiser.defaults["lr"], sgd.optimiser.defaults["momentum"]) == (0.1, 0.7)
    assert isinstance(adam.optimiser, torch.optim.Adam)
    assert adam.adversary.optimiser.defaults["betas"] == (0.9, 0.99)
    own = make(lambda_adv_output=0.1, lr_discriminator=0.02, betas_discriminator=(0.6, 0.8))
    for adversary in (own.adversary, own.output_adversary):
        assert (adversary.optimiser.defaults["lr"], adversary.optimiser.defaults["betas"]) == (0.02, (0.6, 0.8))


def test_copy_paste_takes_the_source_batchs_own_lesions(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The student's view is made of the target, and of the masks of the source slices in the same step."""
    seen = {}

    def view(target, labels, weights, lesions, settings, rng):
        seen.update(target=target, lesions=lesions)
        return target, labels, weights

    monkeypatch.setattr("ctseg.segmentation.terms.student_view", view)
    steps.segmenter_step(make(lambda_adv=0.0, lambda_consistency=1.0, consistency_from=0, copy_paste=0.5), batch)
    assert seen["target"] is batch.target
    assert seen["lesions"] is batch.masks


def test_first_weights_of_the_discriminator_are_the_seeds() -> None:
    first, second = make(), make()
    assert not moved(snapshot(first.adversary.discriminator), second.adversary.discriminator)
