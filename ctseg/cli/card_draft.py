"""A model card drafted from a run: what the run knows; the rest is `NOT_STATED`, for a person to fill in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctseg.cli.model_card import LABEL_FREE, LIMITS, REFERENCES, TASKS, is_one_set, scores
from ctseg.models.card import NOT_STATED, Datum, Made, Measured, ModelCard
from ctseg.runs import ModelHeader, model_path, read_header, read_metrics


def draft_card(run: Path) -> ModelCard:
    """The card of a finished run.

    Raises:
        InputError: if the run is unfinished or broken, or holds no segmenter.
    """
    from ctseg.errors import InputError
    from ctseg.io.input_digests import file_sha256

    path, header = model_path(run), read_header(run)
    if header.kind != "segmenter":
        raise InputError(f"{path}: holds a {header.kind}; a card is drafted for segmenters")
    training, rows = header.training, read_metrics(path.parent)
    seed = training.get("seed")
    return ModelCard(
        summary=f"{TASKS[header.kind]}: {_plain(header.name)}, preset {_plain(training.get('preset'))}",
        sha256=file_sha256(path),
        licence=NOT_STATED,
        made=Made(
            command=f"ctseg {_plain(training.get('command'))} --preset {_plain(training.get('preset'))} --seed {seed}",
            machine=NOT_STATED,
            seconds=_seconds(rows),
            seeds=(seed,) if isinstance(seed, int) else (),
            tool=_plain(header.tool),
        ),
        training_data=_data(header) or (Datum(name=NOT_STATED, licence=NOT_STATED),),
        ct_labels=training.get("command") not in LABEL_FREE or bool(training.get("ct_labels")),
        measured=tuple(
            Measured(data=NOT_STATED, metric=name, value=value, note="of the selection; no accuracy on CT")
            for name, value in scores(header, rows).items()
        ),
        limits=LIMITS[header.kind],
        references=REFERENCES,
    )


def _data(header: ModelHeader) -> tuple[Datum, ...]:
    recorded = header.training.get("data")
    sets = recorded.items() if isinstance(recorded, Mapping) else ()
    unused = "images; the source itself, whose masks were learnt from" if is_one_set(header.training) else None
    use = {"source": "images and labels", "target": unused or "images; masks not used"}
    return tuple(
        Datum(
            name=_plain(data.get("folder")),
            licence=NOT_STATED,
            use=use.get(name, "images and labels"),
            amount=f"{data.get('slices')} slices of {data.get('patients')} patients",
        )
        for name, data in sets
        if isinstance(data, Mapping) and "folder" in data
    )


def _seconds(rows: list[dict[str, Any]]) -> float | None:
    times = [row["seconds"] for row in rows if isinstance(row.get("seconds"), int | float)]
    return round(sum(times), 1) if times else None


def _plain(value: Any) -> str:
    """One line without control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(value)) or NOT_STATED
