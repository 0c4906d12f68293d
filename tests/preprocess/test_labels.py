from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctseg.errors import InputError
from ctseg.preprocess.labels import check_label, read_slice_labels, read_splits

FINDINGS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


def rsna(path: Path, values: dict[str, dict[str, int]], *, twice: bool = False) -> Path:
    rows = [(f"{name}_{finding}", values[name].get(finding, 0)) for name, finding in product(values, FINDINGS)]
    if twice:
        rows += rows[:6]
    pd.DataFrame(rows, columns=["ID", "Label"]).to_csv(path, index=False)
    return path


def test_rsna_rows_become_columns(tmp_path):
    path = rsna(tmp_path / "train.csv", {"ID_b": {"any": 1, "subdural": 1}, "ID_a_1": {}}, twice=True)
    labels = read_slice_labels(path)
    assert tuple(labels.columns) == FINDINGS
    assert labels.loc["ID_b"].tolist() == [1, 0, 0, 0, 0, 1]
    assert labels.loc["ID_a_1"].sum() == 0
    assert (labels.dtypes == np.uint8).all()


def test_a_table_with_one_row_a_slice(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("SOPInstanceUID,iph\n1.2.3,1\n1.2.4,0\n")
    assert read_slice_labels(path)["iph"].to_dict() == {"1.2.3": 1, "1.2.4": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,Label\nID_a_any,0\nID_a_any,1\n", "ID_a_any has two different labels"),
        ("ID,Label\nIDaany,0\n", "expected IDs like"),
        ("ID,Label\nID_a_any,0\nID_a_subdural,1\nID_b_any,0\n", "slice ID_b lacks"),
        ("ID,Label\nID_a_any,2\n", "other than 0 and 1"),
        ("slice\nx\n", "expected columns ID,Label"),
        ("slice,any\nx,1\nx,0\n", "slice x stands twice"),
        ("", "not a readable table"),
    ],
)
def test_broken_label_tables(text, message, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_slice_labels(path)


def test_a_missing_label_table_names_the_flag(tmp_path):
    with pytest.raises(InputError, match="--labels"):
        read_slice_labels(tmp_path / "no.csv")


def test_selection_needs_a_known_label(tmp_path):
    labels = pd.DataFrame({"any": [1]}, index=["a"])
    check_label(labels, "any", tmp_path)
    check_label(None, None, None)
    with pytest.raises(InputError, match="it has any"):
        check_label(labels, "iph", tmp_path)
    with pytest.raises(InputError, match="add --labels"):
        check_label(None, "any", None)


def test_splits_from_a_table(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("patient_id,split\n007,train\n008,val\n007,train\n")
    assert read_splits(path) == {"007": "train", "008": "val"}
    path.write_text("patient_id,split\n007,train\n007,val\n")
    with pytest.raises(InputError, match="patient 007 is in two splits"):
        read_splits(path)
    path.write_text("patient,split\n007,train\n")
    with pytest.raises(InputError, match="columns patient_id,split"):
        read_splits(path)
