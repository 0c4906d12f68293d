from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field

from ctseg.errors import SettingError, nearest, unknown_name
from ctseg.settings import Described, Settings, describe, parse_overrides, resolve, unit
from ctseg.training import presets
from ctseg.training.settings import AdaptationSettings, SynthesisSettings


class Small(Settings):
    width: int = Field(4, description="how wide", ge=1, json_schema_extra=unit("channels"))
    name: str = "x"
    length_mm: float | None = Field(None, gt=0, lt=9)
    kind: Literal["a", "b"] = "a"
    window: tuple[float, float] = (0.0, 100.0)
    tags: list[str] = Field(default_factory=list)
    even: int = Field(2, multiple_of=2)
    table: dict[str, Any] = Field(default_factory=dict)


def test_overrides_are_read_as_toml_values_and_nested_by_dots() -> None:
    given = parse_overrides(["rate=2e-4", "skip=true", "betas=[0.5, 0.99]", "name=paper", "generator_settings.width=8"])
    assert given == {
        "rate": 2e-4, "skip": True, "betas": [0.5, 0.99], "name": "paper", "generator_settings": {"width": 8},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["width"], "expected key=value"),
        (["widht=3"], "did you mean 'width'"),
        (["width=0"], "width=0: it should be greater than or equal to 1"),
        (["width=many"], "width='many'"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(pairs: list[str], words: str) -> None:
    with pytest.raises(SettingError) as caught:
        resolve(Small, parse_overrides(pairs), where="small")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_later_layers_win_and_tables_merge() -> None:
    settings = resolve(SynthesisSettings, presets.SYNTHESIS["paper"], {"generator_settings": {"width": 8}, "epochs": 3})
    assert settings.epochs == 3
    assert settings.generator_settings == {"width": 8, "growth": 12, "layers": 5, "skip": True}


@pytest.mark.parametrize("name", sorted(presets.SYNTHESIS))
def test_every_synthesis_preset_is_valid(name: str) -> None:
    resolve(SynthesisSettings, presets.preset(presets.SYNTHESIS, name))


@pytest.mark.parametrize("name", sorted(presets.ADAPTATION))
def test_every_adaptation_preset_is_valid(name: str) -> None:
    resolve(AdaptationSettings, presets.preset(presets.ADAPTATION, name))


def test_the_paper_preset_holds_the_papers_numbers() -> None:
    paper = resolve(SynthesisSettings, presets.SYNTHESIS["paper"])
    assert (paper.lambda_cyc, paper.lambda_les, paper.lambda_fda) == (5, 50, 15)
    assert (paper.batch_size, paper.lr_generator, paper.betas, paper.pairs_top) == (2, 2e-4, (0.5, 0.99), 20)
    assert (paper.lr_lesion, paper.lesion_momentum) == (0.1, 0.7)
    stage2 = resolve(AdaptationSettings, presets.ADAPTATION["paper"])
    assert (stage2.batch_size, stage2.lr, stage2.momentum) == (12, 0.1, 0.7)
    assert (stage2.lr_discriminator, stage2.betas_discriminator) == (0.01, (0.9, 0.99))


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(SettingError, match="did you mean 'paper'.*released"):
        presets.preset(presets.SYNTHESIS, "papr")


def test_describe_gives_type_default_bounds_and_unit_in_words() -> None:
    rows = {row.name: row for row in describe(Small)}
    assert rows["width"] == Described("width", "whole number", 4, "at least 1", "channels", "how wide")
    assert rows["length_mm"] == Described("length_mm", "number", None, "above 0, below 9", "mm", "")
    assert rows["kind"].type == "one of a, b"
    assert rows["window"].type == "2 numbers"
    assert rows["window"].default_text == "[0.0, 100.0]"
    assert rows["tags"].type == "list of texts"
    assert rows["even"].bounds == "a multiple of 2"
    assert rows["table"].default == {}


@pytest.mark.parametrize(
    ("name", "near"),
    [("widht", "width"), ("cyc", "lambda_cyc"), ("les", ""), ("qqq", ""), ("lambda-les", "lambda_les")],
)
def test_the_nearest_name_is_by_letters_or_by_its_parts(name: str, near: str) -> None:
    assert nearest(name, ["width", "lambda_cyc", "lambda_les", "lesion_width"]) == near


def test_a_long_list_of_names_is_left_to_the_command_that_shows_it() -> None:
    known = [f"name{number}" for number in range(40)]
    assert unknown_name("setting", "nam7", known, "ctseg settings x").endswith("; `ctseg settings x` lists all 40")
    assert "known: a, b" in unknown_name("setting", "c", ["a", "b"], "ctseg settings x")
