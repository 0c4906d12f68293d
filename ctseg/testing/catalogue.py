"""Which checks each kind of plugin has to pass, in the order they run."""

from __future__ import annotations

from ctseg.testing import (
    common_checks,
    extractor_checks,
    generator_checks,
    metric_checks,
    network_checks,
    segmenter_checks,
    training_checks,
)
from ctseg.testing.kit import Check

COMMON: tuple[Check, ...] = (
    common_checks.registers_without_heavy_imports,
    common_checks.says_what_it_is,
    common_checks.settings_round_trip,
    common_checks.unknown_setting_is_refused,
    common_checks.builds,
)
METRIC: tuple[Check, ...] = (
    metric_checks.describes_slices,
    metric_checks.describes_each_slice_by_itself,
    metric_checks.describing_is_repeatable,
    metric_checks.distances_are_finite_and_not_negative,
    metric_checks.distances_do_not_depend_on_the_block,
    metric_checks.is_nearest_to_itself,
    metric_checks.is_symmetric,
    metric_checks.nearest_is_exact,
    metric_checks.parts_fit_the_distance,
    metric_checks.matches_slice_sets,
)
NETWORK: tuple[Check, ...] = (
    network_checks.first_weights_follow_the_seed,
    network_checks.eval_is_deterministic,
    network_checks.slices_of_a_batch_are_independent,
    network_checks.works_in_bfloat16,
    network_checks.comes_back_from_its_file,
    training_checks.trains_two_steps,
    training_checks.resumes_exactly,
)
GENERATOR: tuple[Check, ...] = (
    generator_checks.translates_any_size,
    generator_checks.stays_in_range,
    generator_checks.gradients_reach_every_parameter,
    generator_checks.features_serve_the_feature_loss,
    generator_checks.objective_keeps_its_promises,
)
SEGMENTER: tuple[Check, ...] = (
    segmenter_checks.segments_any_size,
    segmenter_checks.gradients_reach_every_parameter,
    segmenter_checks.adversary_reaches_the_network,
)
EXTRACTOR: tuple[Check, ...] = (
    extractor_checks.mask_is_on_the_grid,
    extractor_checks.finds_brain_and_no_air,
    extractor_checks.takes_any_scan,
    extractor_checks.is_repeatable,
    extractor_checks.goes_to_worker_processes,
)
CATALOGUE: dict[str, tuple[Check, ...]] = {
    "metric": COMMON + METRIC,
    "generator": COMMON + GENERATOR + NETWORK,
    "segmenter": COMMON + SEGMENTER + NETWORK,
    "brain_extractor": COMMON + EXTRACTOR,
}
