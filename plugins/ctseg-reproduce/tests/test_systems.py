"""Every row asks for what the paper's text says of it (4.3.2 to 4.3.5), at every scale."""

from __future__ import annotations

import pytest
from ctseg_reproduce.inputs import Inputs
from ctseg_reproduce.plan import Plan
from ctseg_reproduce.scales import PRESETS, SCALES, Scale, get_scale
from ctseg_reproduce.systems import (
    PLUS_PARTS,
    ROWS,
    TABLES,
    Finetuned,
    Row,
    adaptation_settings,
    get_rows,
    synthesis_settings,
)
from ctseg_reproduce.systems import SYNTHESIS as SYSTEMS

from ctseg.errors import SettingError
from ctseg.settings import resolve
from ctseg.training.presets import ADAPTATION, SYNTHESIS
from ctseg.training.settings import AdaptationSettings, SynthesisSettings

FCN_ROWS = [name for name, row in ROWS.items() if isinstance(row, Row) and row.segmenter == "fcn"]


def synthesis_of(name: str, scale: str | Scale) -> SynthesisSettings:
    chosen, system = get_scale(scale) if isinstance(scale, str) else scale, SYSTEMS[name]
    base = {**SYNTHESIS[chosen.preset]}
    if system.generator != "amd":
        base |= {"generator": system.generator, "generator_settings": {}}
    given = {key: value for key, value in synthesis_settings(system, chosen).items() if "." not in key}
    return resolve(SynthesisSettings, base, given)


def adaptation_of(name: str, scale: str | Scale) -> AdaptationSettings:
    row, chosen = ROWS[name], get_scale(scale) if isinstance(scale, str) else scale
    assert isinstance(row, Row)
    given = {key: value for key, value in adaptation_settings(row, chosen).items() if "." not in key}
    return resolve(AdaptationSettings, ADAPTATION[chosen.preset], given)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("name", "generator", "lesion", "features", "matched"),
    [
        ("cyclegan", "resnet", False, False, False),
        ("mask-cyclegan", "resnet", True, False, False),
        ("matched-mask-cyclegan", "resnet", True, False, True),
        ("proposed", "amd", True, True, True),
    ],
)
def test_a_synthesis_system_has_the_terms_that_the_paper_names(
    scale: str, name: str, generator: str, lesion: bool, features: bool, matched: bool
) -> None:
    settings, preset = synthesis_of(name, scale), SYNTHESIS[get_scale(scale).preset]
    assert settings.generator == generator
    assert settings.lambda_les == (preset["lambda_les"] if lesion else 0)
    assert settings.lambda_fda == (preset["lambda_fda"] if features else 0)
    assert settings.matched is matched


@pytest.mark.parametrize("scale", SCALES)
def test_systems_differ_in_nothing_else(scale: str) -> None:
    differ = {"generator", "generator_settings", "lambda_les", "lambda_fda", "matched"}
    rest = [
        {key: value for key, value in synthesis_of(name, scale).model_dump().items() if key not in differ}
        for name in SYSTEMS
    ]
    assert all(item == rest[0] for item in rest)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if isinstance(row, Row) and row.segmenter == "fcn"]
)
def test_a_row_has_an_adversary_where_its_table_says_das(scale: str, name: str) -> None:
    settings = adaptation_of(name, scale)
    with_das = name in TABLES["table3"] or name in TABLES["table4"] or name.startswith(("plus", "das"))
    beyond = name.startswith("plus")
    assert (settings.lambda_adv > 0) is with_das
    assert settings.lambda_adv in (0, ADAPTATION[get_scale(scale).preset]["lambda_adv"])
    by_agreement = name != "supervised-plus" and (beyond or scale == "gpu")
    assert settings.selection == ("tta_consistency" if by_agreement else "last")
    assert settings.matched is (name == "matched-pairs")


@pytest.mark.parametrize("part", PLUS_PARTS)
def test_plus_without_a_part_lacks_that_part_alone(part: str) -> None:
    whole, less = (adaptation_of(name, "cpu").model_dump() for name in ("plus-tried", f"plus-without-{part}"))
    off = PLUS_PARTS[part][1]
    assert {key for key in whole if whole[key] != less[key]} == set(off)
    assert whole["lambda_consistency"] > 0


def test_plus_is_what_won_of_all_that_was_tried() -> None:
    kept, tried = (adaptation_of(name, "cpu").model_dump() for name in ("plus", "plus-tried"))
    dropped = {"copy_paste", "lambda_adv_output", "freeze_batch_norm_from"}
    assert {key for key in kept if kept[key] != tried[key]} == dropped
    assert all(kept[key] == 0 < tried[key] for key in dropped)
    assert kept["ema_warmup"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scale", SCALES)
def test_a_preset_keeps_its_recipe_and_the_scale_its_sizes(scale: str, preset: str) -> None:
    own, chosen = get_scale(scale), get_scale(scale).with_preset(preset)
    recipe = resolve(AdaptationSettings, ADAPTATION[preset]).model_dump()
    plain, found = (adaptation_of("amd-das", item).model_dump() for item in (own, chosen))
    steps = {"epochs", "decay_epochs", "steps_per_epoch", "batch_size", "sample_every", "keep_epochs"}
    sizes = {*steps, "discriminator_width", "matched", "segmenter_settings"}
    assert {key for key in recipe if found[key] != recipe[key]} <= sizes
    assert found["discriminator_width"] == plain["discriminator_width"]
    whole = [
        (item["epochs"] + item["decay_epochs"]) * item["steps_per_epoch"] * item["batch_size"]
        for item in (plain, found)
    ]
    assert whole[0] == whole[1]
    stage1 = [synthesis_of("proposed", item).model_dump() for item in (own, chosen)]
    for key in ("epochs", "decay_epochs", "steps_per_epoch", "batch_size", "lesion_width", "features_width"):
        assert stage1[0][key] == stage1[1][key], key
    assert stage1[1]["gan"] == SYNTHESIS[preset]["gan"]


@pytest.mark.parametrize("scale", SCALES)
def test_generators_are_as_wide_under_every_preset(scale: str) -> None:
    own = get_scale(scale)
    width = SYNTHESIS[own.preset]["generator_settings"]["width"]
    for preset in PRESETS:
        chosen = own.with_preset(preset)
        settings = {**SYNTHESIS[preset]["generator_settings"], **chosen.amd}
        assert settings["width"] == width
        assert settings["skip"] == SYNTHESIS[preset]["generator_settings"]["skip"]


def test_an_unknown_preset_is_met_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="did you mean 'released'"):
        get_scale("cpu").with_preset("release")


@pytest.mark.parametrize("scale", SCALES)
def test_mr_keeps_the_papers_brightness(scale: str) -> None:
    for name in ("mr", "das", "das-whole-head"):
        assert adaptation_of(name, scale).brightness == 0.2
        assert adaptation_of(name, scale).brightness_shift == 0.0
    assert all(adaptation_of(name, scale).freeze_batch_norm_from == 0 for name in ("mr", "das"))
    assert adaptation_of("amd-das", scale).brightness == ADAPTATION[get_scale(scale).preset].get("brightness", 0.2)


def test_the_bounds_have_nothing_unsupervised() -> None:
    plain, like_plus = (adaptation_of(name, "cpu") for name in ("supervised", "supervised-plus"))
    for settings in (plain, like_plus):
        assert not any(
            (
                settings.lambda_adv,
                settings.lambda_adv_output,
                settings.lambda_consistency,
                settings.synthetic_haemorrhage,
            )
        )
        assert settings.selection == "last"
    whole = adaptation_of("plus-tried", "cpu")
    assert like_plus.freeze_batch_norm_from == whole.freeze_batch_norm_from > 0
    assert like_plus.brightness == whole.brightness < plain.brightness
    assert like_plus.brightness_shift == whole.brightness_shift > plain.brightness_shift


@pytest.mark.parametrize("preset", ["", *PRESETS])
@pytest.mark.parametrize("scale", SCALES)
def test_the_balanced_bound_is_the_bound_with_lesions_in_half_of_each_batch_and_four_times_the_steps(
    scale: str, preset: str
) -> None:
    chosen = get_scale(scale).with_preset(preset) if preset else get_scale(scale)
    plain, balanced = (adaptation_of(name, chosen).model_dump() for name in ("supervised", "supervised-balanced"))
    assert {key for key in plain if plain[key] != balanced[key]} == {"lesion_share", "steps_per_epoch"}
    assert (plain["lesion_share"], balanced["lesion_share"]) == (0, 0.5)
    assert balanced["steps_per_epoch"] == 4 * plain["steps_per_epoch"]
    assert Plan(chosen).row(ROWS["supervised"], 1).needs == Plan(chosen).row(ROWS["supervised-balanced"], 1).needs


def test_plus_sees_every_slice_where_scans_are_there_and_the_paper_only_the_chosen() -> None:
    def targets(name: str, plan: Plan) -> str:
        return plan.row(ROWS[name], 0).steps[0]["tgt"]

    phantom = Plan(get_scale("cpu"))
    assert targets("plus", phantom) == "../../../every-slice/seed-0/ct"
    assert targets("plus-without-every-slice", phantom) == targets("amd-das", phantom) == "../../../data/seed-0/sets/ct"
    whole, less = (adaptation_of(name, "cpu") for name in ("plus-tried", "plus-without-every-slice"))
    assert whole == less
    step = phantom.every_slice(0).steps[0]
    assert step["input"].endswith("stage_2_train")
    assert not {"labels", "select", "masks"} & set(step)
    own = Plan(get_scale("cpu"), Inputs("/mr", "/ct", "/scans", "/truth"))
    assert targets("plus", own) == "/ct"


def test_the_papers_numbers_and_order() -> None:
    assert list(TABLES["table2"].values()) == [72.42, 65.15, 67.67, 76.28, 81.41, None, None]
    assert list(TABLES["table3"].values()) == [74.22, 74.22, 72.31, 78.60, 80.14, 85.77, None, None]
    assert list(TABLES["table4"].values()) == [85.77, 83.55, 83.24, 82.12, 86.93, 86.93, None, None]
    assert list(TABLES["table5"].values()) == [93.82, 94.50, 95.01, 95.10, 95.49, 95.73, 95.96, None]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_one_control_and_known_starts(table: str) -> None:
    rows = get_rows(table)
    assert [row.shuffled for row in rows].count(True) == 1
    for row in rows:
        if isinstance(row, Finetuned) and row.start:
            assert isinstance(ROWS[row.start], Row)


def test_sources_of_table_3_are_the_systems_of_table_2() -> None:
    names = ("cyclegan", "mask-cyclegan", "matched-mask-cyclegan")
    assert [ROWS[f"{name}-das"].source for name in names] == list(names)  # type: ignore[union-attr]
    assert ROWS["amd-das"].source == ROWS["proposed"].source == "proposed"  # type: ignore[union-attr]
    assert ROWS["mr"].source == ROWS["das"].source == "mr"  # type: ignore[union-attr]


def test_gpu_has_the_papers_widths() -> None:
    gpu = get_scale("gpu")
    assert gpu.size == 240
    assert gpu.resnet == {"width": 64, "blocks": 9}
    assert not any("width" in key for key in {**gpu.synthesis, **gpu.adaptation})
    assert SYNTHESIS[gpu.preset]["generator_settings"]["width"] == 64


def test_an_unknown_name_is_met_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="did you mean 'table2'"):
        get_rows("table22")
    with pytest.raises(SettingError, match="did you mean 'cyclegan'"):
        get_rows("table2", ["cycelgan"])
    with pytest.raises(SettingError, match="smoke"):
        get_scale("huge")
