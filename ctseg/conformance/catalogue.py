"""Which checks each kind of plugin has to pass, in the order they run; those of networks import torch."""

from __future__ import annotations

from collections.abc import Callable

from ctseg.conformance import common_checks
from ctseg.conformance.subject import Check

COMMON: tuple[Check, ...] = (
    common_checks.registers_without_heavy_imports,
    common_checks.says_what_it_is,
    common_checks.settings_round_trip,
    common_checks.unknown_setting_is_refused,
    common_checks.builds,
)


def _similarity_metric() -> tuple[Check, ...]:
    from ctseg.conformance import similarity_metric_checks as checks

    return (
        *COMMON,
        checks.describes_slices,
        checks.describes_each_slice_by_itself,
        checks.describes_slices_in_any_order,
        checks.describing_is_repeatable,
        checks.distances_are_finite_and_not_negative,
        checks.distances_do_not_depend_on_the_block,
        checks.is_nearest_to_itself,
        checks.is_symmetric,
        checks.nearest_is_exact,
        checks.parts_fit_the_distance,
        checks.matches_slice_sets,
    )


def _metric() -> tuple[Check, ...]:
    from ctseg.conformance import metric_checks as checks

    return (
        *COMMON,
        checks.describes_itself,
        checks.values_are_in_range,
        checks.is_undefined_as_declared,
        checks.is_pure,
        checks.is_repeatable,
        checks.does_not_depend_on_flips,
        checks.scales_with_its_unit,
        checks.goes_to_worker_processes,
        checks.is_summarised,
    )


def _network() -> tuple[Check, ...]:
    from ctseg.conformance import network_checks, training_checks

    return (
        network_checks.first_weights_follow_the_seed,
        network_checks.eval_is_deterministic,
        network_checks.slices_of_a_batch_are_independent,
        network_checks.works_in_bfloat16,
        network_checks.comes_back_from_its_file,
        training_checks.trains_two_steps,
        training_checks.resumes_exactly,
    )


def _generator() -> tuple[Check, ...]:
    from ctseg.conformance import generator_checks as checks

    return (
        *COMMON,
        checks.translates_any_size,
        checks.stays_in_range,
        checks.gradients_reach_every_parameter,
        checks.features_serve_the_feature_loss,
        checks.objective_keeps_its_promises,
        *_network(),
    )


def _segmenter() -> tuple[Check, ...]:
    from ctseg.conformance import segmenter_checks as checks

    return (
        *COMMON,
        checks.segments_any_size,
        checks.gradients_reach_every_parameter,
        checks.adversary_reaches_the_network,
        *_network(),
    )


def _brain_extractor() -> tuple[Check, ...]:
    from ctseg.conformance import extractor_checks as checks

    return (
        *COMMON,
        checks.mask_is_on_the_grid,
        checks.finds_brain_and_no_air,
        checks.takes_any_scan,
        checks.is_repeatable,
        checks.goes_to_worker_processes,
    )


def _model() -> tuple[Check, ...]:
    from ctseg.conformance import model_checks as checks

    return (
        common_checks.registers_without_heavy_imports,
        common_checks.says_what_it_is,
        checks.gives_weights,
        checks.has_a_card,
        checks.holds_a_segmenter,
        checks.segments_slices,
    )


CATALOGUE: dict[str, Callable[[], tuple[Check, ...]]] = {
    "similarity_metric": _similarity_metric,
    "metric": _metric,
    "generator": _generator,
    "segmenter": _segmenter,
    "brain_extractor": _brain_extractor,
    "model": _model,
}
