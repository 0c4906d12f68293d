"""Which weights each term moves, and which it must not."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from ctseg.plugins.protocols import SegmenterOutput
from ctseg.segmentation import steps
from ctseg.training.settings import AdaptationSettings


class TinySegmenter(nn.Module):
    """A normed hidden map and a classifier beside it, so that L_adv cannot reach the classifier."""

    hidden_channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.classifier = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)

    def forward(self, images: Tensor) -> SegmenterOutput:
        hidden = self.norm(self.conv(images))
        return SegmenterOutput(self.classifier(hidden), hidden)


def make(**settings: object) -> steps.Adaptation:
    torch.manual_seed(0)
    chosen = AdaptationSettings(discriminator_width=2, channels_last=False, **settings)
    return steps.make_adaptation(TinySegmenter(), chosen, device=torch.device("cpu"), autocast=nullcontext, seed=3)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    source, target = (torch.rand(4, 1, 32, 32, generator=draw) * 2 - 1 for _ in range(2))
    return source, (source > 0.6).float(), target * 0.5 + 0.4


def test_segmenter_step_moves_the_segmenter_alone(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    nets = make(lambda_adv=0.1)
    before, judge = snapshot(nets.segmenter), snapshot(nets.discriminator)
    steps.segmenter_step(nets, *batch)
    assert {"conv.weight", "norm.weight", "classifier.weight"} <= moved(before, nets.segmenter)
    assert not moved(judge, nets.discriminator)
    assert all(p.grad is None and p.requires_grad for p in nets.discriminator.parameters())


def test_discriminator_step_moves_the_discriminator_alone(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    nets = make(lambda_adv=0.1)
    _, source, target = steps.segmenter_step(nets, *batch)
    assert not source.hidden.requires_grad
    assert not target.hidden.requires_grad
    before, judge = snapshot(nets.segmenter), snapshot(nets.discriminator)
    losses = steps.discriminator_step(nets, source.hidden, target.hidden)
    assert not moved(before, nets.segmenter)
    assert moved(judge, nets.discriminator) == set(judge)
    assert set(losses) == {"discriminator", "discriminator_accuracy"}


def test_adversarial_loss_reaches_the_hidden_map_and_not_the_classifier(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """The gradient with the adversary minus the one without it is the adversary's own."""
    grads = []
    for weight in (1.0, 0.0):
        nets = make(lambda_adv=weight)
        steps.segmenter_step(nets, *batch)
        grads.append({name: p.grad.clone() for name, p in nets.segmenter.named_parameters()})
    changed = {name for name in grads[0] if not torch.allclose(grads[0][name], grads[1][name], atol=1e-7)}
    assert "conv.weight" in changed
    assert not changed & {"classifier.weight", "classifier.bias"}


def test_the_weight_scales_the_adversary(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    grads = {}
    for weight in (0.0, 1.0, 3.0):
        nets = make(lambda_adv=weight)
        steps.segmenter_step(nets, *batch)
        grads[weight] = nets.segmenter.conv.weight.grad.clone()
    torch.testing.assert_close(grads[3.0] - grads[0.0], 3 * (grads[1.0] - grads[0.0]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_ct_pass_leaves_running_statistics_alone_when_frozen(
    batch: tuple[Tensor, Tensor, Tensor], frozen: bool
) -> None:
    statistics = []
    for weight in (0.0, 0.1):
        nets = make(lambda_adv=weight, freeze_batch_norm_on_target=frozen)
        steps.segmenter_step(nets, *batch)
        assert nets.segmenter.norm.training
        statistics.append(nets.segmenter.norm.running_mean.clone())
    assert torch.equal(*statistics) is frozen


def test_every_step_zeroes_its_own_gradients(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """Stale gradients, left by anybody, do not change the update."""
    clean, stale = make(lambda_adv=0.1), make(lambda_adv=0.1)
    for module in stale.modules.values():
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 7.0)
    for nets in (clean, stale):
        steps.adaptation_step(nets, *batch)
    for name, module in clean.modules.items():
        assert not moved(snapshot(module), stale.modules[name])


def test_without_an_adversary_there_is_no_discriminator(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    nets = make(lambda_adv=0.0)
    assert set(nets.modules) == {"segmenter"}
    assert set(steps.adaptation_step(nets, *batch[:2], None)) == {"segmentation"}


def test_the_adversary_on_outputs_reaches_the_classifier_and_its_judge_learns(batch) -> None:
    """Unlike the paper's, which sees the hidden map alone."""
    grads = []
    for weight in (1.0, 0.0):
        nets = make(lambda_adv=0.0, lambda_adv_output=weight)
        losses, source, target = steps.segmenter_step(nets, *batch)
        grads.append(nets.segmenter.classifier.weight.grad.clone())
        if weight:
            assert "adversarial_output" in losses
            before, judge = snapshot(nets.segmenter), snapshot(nets.output_discriminator)
            steps.output_step(nets, source.logits, target.logits)
            assert not moved(before, nets.segmenter)
            assert moved(judge, nets.output_discriminator) == set(judge)
    assert not torch.allclose(*grads)


def test_an_extra_term_moves_the_segmenter_by_its_weight(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    grads = {}
    for weight in (0.0, 1.0, 3.0):
        nets = make(lambda_adv=0.0, lambda_consistency=1.0)

        def extra(target: Tensor, nets=nets, weight=weight):
            return {"bias": (weight, nets.segmenter(target).logits.mean())}

        steps.adaptation_step(nets, *batch, extra)
        grads[weight] = nets.segmenter.classifier.bias.grad.clone()
    torch.testing.assert_close(grads[3.0] - grads[0.0], 3 * (grads[1.0] - grads[0.0]), rtol=1e-4, atol=1e-6)


def test_the_teacher_is_what_is_kept_and_no_optimiser_moves_it(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    nets = make(lambda_adv=0.0, lambda_consistency=1.0)
    assert nets.final is nets.teacher
    before = snapshot(nets.teacher)
    steps.adaptation_step(nets, *batch)
    assert not moved(before, nets.teacher)
    assert make().final is not None
    assert make().teacher is None


def test_discriminator_learns_to_tell_domains_apart_(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    nets = make(lambda_adv=1e-6, lr=1e-4)
    losses = [steps.adaptation_step(nets, *batch) for _ in range(60)]
    assert losses[-1]["discriminator"] < 0.5 * losses[0]["discriminator"]
    assert losses[-1]["discriminator_accuracy"] == 1.0


@pytest.mark.parametrize(("form", "boundary"), [("log", 0.0), ("lsq", 0.5)])
def test_accuracy_counts_each_domain_half(form: str, boundary: float) -> None:
    source = boundary + torch.tensor([1.0, 1.0, 1.0, -1.0])
    target = boundary + torch.tensor([-1.0, 1.0])
    assert steps.discriminator_accuracy(source, target, form).item() == pytest.approx(0.5 * (0.75 + 0.5))


def test_clip_bounds_the_update(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    nets = make(lambda_adv=0.0, lr=1.0, momentum=0.0, clip_gradient=1e-3)
    before = [p.detach().clone() for p in nets.segmenter.parameters()]
    steps.segmenter_step(nets, *batch)
    change = torch.stack([(p - q).norm() for p, q in zip(nets.segmenter.parameters(), before, strict=True)]).norm()
    assert change.item() == pytest.approx(1e-3, rel=1e-2)


def test_optimisers_are_the_ones_asked_for() -> None:
    sgd, adam = make(), make(optimiser="adam", lr=1e-3)
    assert isinstance(sgd.optimiser, torch.optim.SGD)
    assert (sgd.optimiser.defaults["lr"], sgd.optimiser.defaults["momentum"]) == (0.1, 0.7)
    assert isinstance(adam.optimiser, torch.optim.Adam)
    assert adam.discriminator_optimiser.defaults["betas"] == (0.9, 0.99)


def test_first_weights_of_the_discriminator_are_the_seeds(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    state = torch.get_rng_state()
    first, second = make(), make()
    assert not moved(snapshot(first.discriminator), second.discriminator)
    torch.set_rng_state(state)
