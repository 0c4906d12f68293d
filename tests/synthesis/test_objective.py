from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ctseg.errors import SettingError
from ctseg.networks.modes import frozen
from ctseg.networks.resnet_generator import ResnetGenerator
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.synthesis import losses
from ctseg.synthesis.objective import CycleObjective
from ctseg.synthesis.objective import make_objective as choose_objective

Make = Callable[..., Any]
OFF = {"lambda_gan": 0.0, "lambda_cyc": 0.0, "lambda_les": 0.0, "lambda_fda": 0.0}
PARTS = ("encoders.mr", "encoders.ct", "fusion", "decoders.mr", "decoders.ct")


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def parts_moved(objective: CycleObjective, batch: Batch) -> set[str]:
    """Which parts of the generator one generator step moves."""
    before = copy_of(objective.generator)
    objective.generator_step(batch)
    names = moved(objective.generator, before)
    return {part for part in PARTS if any(name.startswith(part) for name in names)}


class TestWhatMoves:
    def test_the_feature_loss_moves_the_fusion_alone(self, make_objective: Make, make_batch: Make) -> None:
        assert parts_moved(make_objective(**{**OFF, "lambda_fda": 15.0}), make_batch()) == {"fusion"}

    def test_or_the_target_encoder_too_if_asked(self, make_objective: Make, make_batch: Make) -> None:
        objective = make_objective(**{**OFF, "lambda_fda": 15.0, "fda_scope": "features"})
        assert parts_moved(objective, make_batch()) == {"fusion", "encoders.ct"}

    @pytest.mark.parametrize("weight", ["lambda_cyc", "lambda_gan", "lambda_les", "lambda_identity"])
    def test_every_other_loss_moves_the_whole_generator(
        self, make_objective: Make, make_batch: Make, weight: str
    ) -> None:
        assert parts_moved(make_objective(**{**OFF, weight: 1.0}), make_batch()) == set(PARTS)

    def test_nothing_moves_without_a_loss(self, make_objective: Make, make_batch: Make) -> None:
        assert not parts_moved(make_objective(**OFF), make_batch())

    def test_the_generator_step_leaves_every_helper_as_it_is(self, make_objective: Make, make_batch: Make) -> None:
        objective = make_objective()
        before = {name: copy_of(net) for name, net in objective.modules().items()}
        objective.generator_step(make_batch())
        assert set(before) == {"d_ct", "d_mr", "d_fusion", "s_ori", "s_rec"}
        for name, net in objective.modules().items():
            assert not moved(net, before[name]), name
            assert all(p.grad is None and p.requires_grad for p in net.parameters()), name

    def test_the_helpers_steps_move_themselves_alone(self, make_objective: Make, make_batch: Make) -> None:
        objective, batch = make_objective(), make_batch()
        made, _ = objective.generator_step(batch)
        objective.optimisers["generator"].zero_grad()
        nets = {"generator": objective.generator, **objective.modules()}
        steps = {
            "d_ct": lambda: objective.discriminator_step("d_ct", batch.target, made.pseudo_ct),
            "d_mr": lambda: objective.discriminator_step("d_mr", batch.source, made.pseudo_mr),
            "d_fusion": lambda: objective.feature_step(made),
            "s_ori": lambda: objective.lesion_step("s_ori", made.pseudo_ct, batch.source_mask),
            "s_rec": lambda: objective.lesion_step("s_rec", made.recon_mr, batch.source_mask),
        }
        for name, step in steps.items():
            before = {other: copy_of(net) for other, net in nets.items()}
            step()
            assert [other for other, net in nets.items() if moved(net, before[other])] == [name]
        assert all(p.grad is None for p in objective.generator.parameters())


class TestGradients:
    def test_the_fusion_alone_gets_the_feature_losss_gradient(self, make_objective: Make, make_batch: Make) -> None:
        """The gradients of one step against a second computation, term by term."""
        objective, batch = make_objective(), make_batch()
        generator, settings = objective.generator, objective.settings
        for net in objective.modules().values():
            net.eval()
        made = objective.translate(batch)
        terms = objective.terms(batch, made)
        others = sum(objective.weights[name] * terms[name] for name in terms if name != "features")
        named = dict(generator.named_parameters())
        expected = dict(zip(named, torch.autograd.grad(others, list(named.values()), retain_graph=True), strict=True))
        shared = {name: p for name, p in named.items() if name.startswith("fusion")}
        extra = torch.autograd.grad(settings.lambda_fda * terms["features"], list(shared.values()))
        for name, gradient in zip(shared, extra, strict=True):
            expected[name] = expected[name] + gradient
        objective.generator_step(batch)
        for name, parameter in named.items():
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)

    def test_every_step_zeroes_its_own_gradients(self, make_objective: Make, make_batch: Make) -> None:
        """Stale gradients, left by anybody, change no update; the released code never zeroes D_fusion's."""
        clean, stale, batch = make_objective(), make_objective(), make_batch()
        for net in (stale.generator, *stale.modules().values()):
            for parameter in net.parameters():
                parameter.grad = torch.full_like(parameter, 7.0)
        for objective in (clean, stale):
            objective.step(batch)
        for name, net in {"generator": clean.generator, **clean.modules()}.items():
            other = {"generator": stale.generator, **stale.modules()}[name]
            assert not moved(other, copy_of(net)), name

    @pytest.mark.slow
    def test_gradients_do_not_pile_up(self, make_objective: Make, make_batch: Make) -> None:
        """Two steps on the same batch at rate 0 leave the gradients of one."""
        rates = {"lr_generator": 1e-30, "lr_discriminator": 1e-30, "lr_features": 1e-30, "lr_lesion": 1e-30}
        objective, batch = make_objective(**rates), make_batch()
        nets = [objective.generator, *objective.modules().values()]
        objective.step(batch)
        first = [p.grad.clone() for net in nets for p in net.parameters()]
        objective.step(batch)
        second = [p.grad for net in nets for p in net.parameters()]
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("changes", [{}, {"fda_scope": "features"}, {"lambda_fda": 0.0, "clip_gradient": 0.5}])
    def test_one_pass_through_s_gives_the_gradients_of_two(
        self, make_objective: Make, make_batch: Make, changes: dict[str, Any]
    ) -> None:
        """A whole step beside the steps one by one, in which S_ori and S_rec run again for their own update.

        In float64: a bias before an instance norm has no gradient but rounding.
        """
        one, other, drawn = make_objective(**changes), make_objective(**changes), make_batch()
        for net in (one.generator, other.generator, *one.modules().values(), *other.modules().values()):
            net.double()
        batch = Batch(drawn.source.double(), drawn.source_mask, drawn.target.double())
        named = one.step(batch)
        made, expected = other.generator_step(batch)
        expected |= other.discriminator_step("d_ct", batch.target, made.pseudo_ct)
        expected |= other.discriminator_step("d_mr", batch.source, made.pseudo_mr)
        if "d_fusion" in other.modules():
            expected |= other.feature_step(made)
        expected |= other.lesion_step("s_ori", made.pseudo_ct, batch.source_mask)
        expected |= other.lesion_step("s_rec", made.recon_mr, batch.source_mask)
        torch.testing.assert_close(named, expected, rtol=1e-6, atol=0)
        nets = zip([one.generator, *one.modules().values()], [other.generator, *other.modules().values()], strict=True)
        for mine, theirs in nets:
            found = {name: p.grad for name, p in mine.named_parameters()}
            wanted = {name: p.grad for name, p in theirs.named_parameters()}
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
            statistics = dict(mine.named_buffers()), dict(theirs.named_buffers())
            torch.testing.assert_close(*statistics, rtol=0, atol=0)

    def test_clipping_bounds_the_generators_gradient(self, make_objective: Make, make_batch: Make) -> None:
        objective = make_objective(clip_gradient=0.01)
        objective.generator_step(make_batch())
        norm = torch.stack([p.grad.norm() for p in objective.generator.parameters()]).norm()
        assert norm.item() == pytest.approx(0.01, rel=1e-3)


class TestTerms:
    @pytest.mark.parametrize("form", ["log", "lsq"])
    def test_losses_are_the_equations_of_the_networks_outputs(
        self, make_objective: Make, make_batch: Make, form: str
    ) -> None:
        objective, batch = make_objective(gan=form, gan_features=form, lambda_identity=2.0), make_batch()
        generator, nets = objective.generator, objective.modules()
        for net in nets.values():
            net.eval()
        with torch.no_grad():
            pseudo_ct, pseudo_mr = generator.to_target(batch.source), generator.to_source(batch.target)
            expected = {
                "gan_ct": losses.adversarial(nets["d_ct"](pseudo_ct), form),
                "gan_mr": losses.adversarial(nets["d_mr"](pseudo_mr), form),
                "cycle": (generator.to_source(pseudo_ct) - batch.source).abs().mean()
                + (generator.to_target(pseudo_mr) - batch.target).abs().mean(),
                "identity": (generator.to_target(batch.target) - batch.target).abs().mean()
                + (generator.to_source(batch.source) - batch.source).abs().mean(),
                "lesion": losses.lesion(nets["s_ori"](pseudo_ct).logits, batch.source_mask)
                + losses.lesion(nets["s_rec"](generator.to_source(pseudo_ct)).logits, batch.source_mask),
                "features": losses.feature_adaptation(nets["d_fusion"](generator.features(batch.target, "ct")), form),
            }
        weights = {"gan_ct": 1.0, "gan_mr": 1.0, "cycle": 5.0, "identity": 2.0, "lesion": 50.0}
        expected["generator"] = sum(weight * expected[name] for name, weight in weights.items())
        _, named = objective.generator_step(batch)
        assert set(named) == set(expected)
        for name, value in expected.items():
            assert named[name].item() == pytest.approx(value.item(), rel=1e-4), name

    @pytest.mark.parametrize("form", ["log", "lsq"])
    def test_the_discriminators_losses_are_equations_3_and_7(
        self, make_objective: Make, make_batch: Make, form: str
    ) -> None:
        """Written out: another domain's images or features, or the labels swapped, give another number."""
        objective, batch = make_objective(gan=form, gan_features=form), make_batch()
        made, _ = objective.generator_step(batch)
        real_and_fake = {
            "d_ct": (batch.target, made.pseudo_ct),
            "d_mr": (batch.source, made.pseudo_mr),
            "d_fusion": (made.mr_features, made.ct_features),  # the source is 1
        }
        expected = {}
        for name, pair in real_and_fake.items():
            net = objective.modules()[name].eval()  # batch norm, where there is one, sees no other batch
            with torch.no_grad():
                one, zero = (net(images.detach()) for images in pair)
            log = -one.sigmoid().log().mean() - (1 - zero.sigmoid()).log().mean()
            expected[name] = log if form == "log" else ((one - 1) ** 2).mean() + (zero**2).mean()
        found = objective.discriminator_step("d_ct", batch.target, made.pseudo_ct)
        found |= objective.discriminator_step("d_mr", batch.source, made.pseudo_mr)
        found |= objective.feature_step(made)
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value.item(), rel=1e-5), name

    def test_a_step_gives_each_discriminator_its_own_domain(
        self, make_objective: Make, make_batch: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        objective, batch, seen = make_objective(), make_batch(), {}

        def note(name: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
            seen[name] = (real, fake)
            return {}

        with torch.no_grad():
            made = {"d_ct": objective.generator.to_target(batch.source)}
            made["d_mr"] = objective.generator.to_source(batch.target)
        monkeypatch.setattr(objective, "discriminator_step", note)
        objective.step(batch)
        for name, real in (("d_ct", batch.target), ("d_mr", batch.source)):
            assert seen[name][0] is real
            torch.testing.assert_close(seen[name][1], made[name])

    def test_a_term_without_weight_has_no_helper(self, make_objective: Make, make_batch: Make) -> None:
        objective = make_objective(generator=ResnetGenerator(width=4, blocks=1), lambda_les=0, lambda_fda=0)
        assert set(objective.modules()) == {"d_ct", "d_mr"}
        assert set(objective.step(make_batch())) == {"generator", "gan_ct", "gan_mr", "cycle", "d_ct", "d_mr"}

    def test_a_generator_without_one_pass_translation_gives_the_same(
        self, make_generator: Make, make_objective: Make, make_batch: Make
    ) -> None:
        class TwoPass(nn.Module):
            feature_channels = 16

            def __init__(self) -> None:
                super().__init__()
                self.inner = make_generator()
                self.to_target, self.to_source = self.inner.to_target, self.inner.to_source
                self.features, self.shared_parameters = self.inner.features, self.inner.shared_parameters

        first, second = make_objective(), make_objective(generator=TwoPass())
        assert first.generator_step(make_batch())[1] == second.generator_step(make_batch())[1]

    def test_any_size(self, make_objective: Make, make_batch: Make) -> None:
        assert all(value.isfinite() for value in make_objective().step(make_batch(size=37)).values())


class TestState:
    @pytest.mark.slow
    def test_a_file_brings_back_helpers_optimisers_and_pools(
        self, make_objective: Make, make_batch: Make, tmp_path: Path
    ) -> None:
        settings = {"image_pool": 2, "lesion_optimiser": "adam", "lr_lesion": 1e-3}
        first = make_objective(**settings)
        for seed in range(3):
            first.step(make_batch(seed))
        second = make_objective(**settings)
        second.generator.load_state_dict(first.generator.state_dict())
        torch.save(first.state_dict(), tmp_path / "state.pt")
        second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        for seed in range(3, 6):
            assert first.step(make_batch(seed)) == second.step(make_batch(seed))

    def test_each_network_has_the_optimiser_of_its_settings(self, make_objective: Make) -> None:
        own = {
            "lr_generator": 0.01, "lr_discriminator": 0.02, "lr_features": 0.03, "lr_lesion": 0.04,
            "betas": (0.1, 0.2), "betas_features": (0.3, 0.4), "lesion_momentum": 0.6, "lesion_optimiser": "sgd",
        }  # fmt: skip
        found = {name: one.param_groups[0] for name, one in make_objective(**own).optimisers.items()}
        rates = {name: group["lr"] for name, group in found.items()}
        assert rates == {"generator": 0.01, "d_ct": 0.02, "d_mr": 0.02, "d_fusion": 0.03, "s_ori": 0.04, "s_rec": 0.04}
        assert all(found[name]["betas"] == (0.1, 0.2) for name in ("generator", "d_ct", "d_mr"))
        assert found["d_fusion"]["betas"] == (0.3, 0.4)
        assert all(found[name]["momentum"] == 0.6 for name in ("s_ori", "s_rec"))

    def test_rates_follow_the_factor(self, make_objective: Make) -> None:
        objective = make_objective(lr_generator=4e-4, lr_lesion=0.2)
        objective.set_lr_factor(0.5)
        rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in objective.optimisers.items()}
        assert rates["generator"] == pytest.approx(2e-4)
        assert rates["s_ori"] == pytest.approx(0.1)


class TestChoice:
    def context(self, settings: Any) -> ObjectiveContext:
        return ObjectiveContext(settings, torch.device("cpu"), torch.enable_grad)

    def test_a_generators_own_objective_comes_first(self, make_settings: Make) -> None:
        own = object()

        class OneSided(nn.Module):
            def objective(self, context: ObjectiveContext) -> object:
                assert context.settings.lambda_fda == 15.0
                return own

        assert choose_objective(OneSided(), self.context(make_settings())) is own

    def test_no_features_is_an_error_with_a_way_out(self, make_settings: Make) -> None:
        with pytest.raises(SettingError, match="--set lambda_fda=0"):
            choose_objective(ResnetGenerator(width=4, blocks=1), self.context(make_settings()))

    def test_no_shared_parameters_is_an_error_with_a_way_out(self, make_settings: Make) -> None:
        generator = ResnetGenerator(width=4, blocks=1)
        generator.features, generator.feature_channels = generator.to_target, 1
        with pytest.raises(SettingError, match="fda_scope=features"):
            choose_objective(generator, self.context(make_settings()))


def test_frozen_thaws_again_even_after_an_error() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    before = copy_of(net)

    def fail() -> None:
        with frozen(net):
            net(torch.rand(2, 1, 4, 4))
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert not moved(net, before)
    assert all(p.requires_grad for p in net.parameters())
    net(torch.rand(2, 1, 4, 4))
    assert moved(net, before) >= {"1.running_mean"}
