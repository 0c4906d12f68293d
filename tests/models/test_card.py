"""Cards come back whole, and each fault is one line that names the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctseg.errors import InputError
from ctseg.files import write_json
from ctseg.models.card import read_card, write_card
from ctseg.models.card_files import CARD_SCHEMA, MAX_BYTES, card_path, is_card

CARD: dict[str, Any] = {
    "schema": CARD_SCHEMA,
    "summary": "Segments haemorrhage, for tests",
    "sha256": "0123456789abcdef" * 4,
    "licence": "CC0-1.0",
    "made": {"command": "ctseg reproduce tiny", "machine": "two cores", "seconds": 61.5, "seeds": [3]},
    "training_data": [{"name": "phantom", "licence": "Apache-2.0"}],
    "ct_labels": False,
    "measured": [{"data": "heads", "metric": "Dice", "value": 0.8, "low": 0.7, "high": 0.9, "cases": 12}],
    "limits": ["finds nothing"],
}

BIN: dict[str, Any] = {"factor": 1.1, "low": 0.8, "high": 1.5, "cases": 20}


def test_a_card_comes_back(tmp_path: Path) -> None:
    card = read_card(write_json(tmp_path / "a.json", CARD))
    assert (card.made.seeds, card.measured[0].high, card.training_data[0].licence) == ((3,), 0.9, "Apache-2.0")
    assert "Not a medical device" in card.intended_use
    assert read_card(write_card(tmp_path / "b.json", card)) == card
    assert card_path(tmp_path / "x.safetensors") == tmp_path / "x.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"license": "MIT"}, "unknown field 'license' (did you mean 'licence'?)"),
        ({"licence": ""}, "licence: String should have at least 1 character"),
        ({"limits": []}, "limits: "),
        ({"sha256": "abc"}, "sha256: "),
        ({"made": {"command": "x"}}, "made.machine: Field required"),
        ({"training_data": [{"name": "x", "license": "y"}]}, "training_data.0."),
        ({"training_data": []}, "training_data: "),
        ({"measured": [{"data": "x", "metric": "Dice", "value": "high"}]}, "measured.0.value: "),
        ({"measured": [{"data": "x", "metric": "Dice", "value": 1, "low": 0}]}, "give both ends of the interval"),
        ({"summary": "a\u001b[31mred"}, "summary: holds line breaks or control characters"),
        ({"limits": ["one\ntwo"]}, "limits: holds line breaks"),
        ({"measured": [{"data": "x", "metric": "Dice", "value": 1, "low": 2, "high": 0}]}, "low is above high"),
        ({"made": {**CARD["made"], "seeds": [10**30]}}, "made.seeds: it should be at most"),
        ({"volumes": {"data": "x", "bins": [{**BIN, "factor": 1e9, "high": 1e9}]}}, "less than or equal to 100"),
        ({"volumes": {"data": "x", "bins": []}}, "volumes.bins: "),
        ({"volumes": {"data": "x", "bins": [{"factor": 3, "low": 1, "high": 2, "cases": 9}]}}, "between low and high"),
        ({"volumes": {"data": "x", "bins": [{**BIN, "up_to_ml": 5.0}]}}, "the last without one"),
        ({"volumes": {"data": "x", "bins": [BIN, {**BIN, "up_to_ml": 5.0}, BIN]}}, "in order of up_to_ml"),
        ({"volumes": {"data": "x", "bins": [{**BIN, "ratio": 1}]}}, "unknown field 'ratio'"),
        ({"schema": "ctseg-model-card/2"}, "schema 'ctseg-model-card/2', expected 'ctseg-model-card/1'"),
        ({"schema": None}, "not a model card of this ctseg"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_json(tmp_path / "a.json", {**CARD, **changes})
    with pytest.raises(InputError) as caught:
        read_card(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", '"x"', "{}", "[" * 50_000, "\x00", '{"schema": NaN}'])
def test_what_is_no_card_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json: not a"):
        read_card(path)
    assert not is_card(path)


@pytest.mark.parametrize(
    ("said", "instead", "message"),
    [('"ct_labels": false', '"ct_labels": false, "ct_labels": true', "twice"), ("61.5", "1e400", "finite number")],
)
def test_a_card_says_each_thing_once_and_no_infinity(tmp_path: Path, said: str, instead: str, message: str) -> None:
    path = write_json(tmp_path / "a.json", CARD)
    path.write_text(path.read_text().replace(said, instead))
    with pytest.raises(InputError, match=message):
        read_card(path)


def test_a_huge_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(" " * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="larger than a model card can be"):
        read_card(path)
    with pytest.raises(InputError, match="no such file"):
        read_card(tmp_path / "none.json")


def test_volumes_are_corrected_by_size(tmp_path: Path) -> None:
    bins = [{**BIN, "up_to_ml": 2.0, "factor": 1.5}, BIN]
    path = write_json(tmp_path / "a.json", {**CARD, "volumes": {"data": "heads", "bins": bins}})
    card = read_card(path)
    assert card.volumes is not None
    assert card.volumes.corrected(2.0) == pytest.approx((3.0, 1.6, 3.0))
    assert card.volumes.corrected(2.001) == pytest.approx((2.2011, 1.6008, 3.0015))
    assert read_card(write_card(tmp_path / "b.json", card)) == card
