"""Tables of labels: RSNA's and one row a slice, as `preprocess` and `evaluate` read them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctseg.errors import InputError
from ctseg.io.rsna_labels import read_labels

FINDINGS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


def rsna(path: Path, values: dict[str, dict[str, int]], *, twice: bool = False) -> Path:
    rows = [(f"{name}_{finding}", values[name].get(finding, 0)) for name, finding in product(values, FINDINGS)]
    if twice:
        rows += rows[:6]
    pd.DataFrame(rows, columns=["ID", "Label"]).to_csv(path, index=False)
    return path


def test_rsna_rows_become_columns(tmp_path):
    path = rsna(tmp_path / "train.csv", {"ID_b": {"any": 1, "subdural": 1}, "ID_a_1": {}}, twice=True)
    labels = read_labels(path).table
    assert tuple(labels.columns) == FINDINGS
    assert labels.loc["ID_b"].tolist() == [1, 0, 0, 0, 0, 1]
    assert labels.loc["ID_a_1"].sum() == 0
    assert (labels.dtypes == np.uint8).all()


def test_a_table_with_one_row_a_slice(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("SOPInstanceUID,iph\n1.2.3,1\n1.2.4,0\n")
    assert read_labels(path).table["iph"].to_dict() == {"1.2.3": 1, "1.2.4": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,Label\nID_a_any,0\nID_a_any,1\n", "ID_a_any has two different labels"),
        ("ID,Label\nIDaany,0\n", "expected IDs like"),
        ("ID,Label\nID_a_any,0\nID_a_subdural,1\nID_b_any,0\n", "slice ID_b lacks"),
        ("ID,Label\nID_a_any,2\n", "other than 0 and 1"),
        ("slice\nx\n", "expected columns ID,Label"),
        ("slice,any\nx,1\nx,0\n", "slice x appears twice"),
        ("", "not a readable table"),
    ],
)
def test_broken_label_tables(text, message, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_labels(path)


def test_a_missing_label_table_names_the_flag(tmp_path):
    with pytest.raises(InputError, match="--labels"):
        read_labels(tmp_path / "no.csv")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_repeated_rows_with_the_same_label_are_said(tmp_path):
    path = rsna(tmp_path / "train.csv", {"ID_b": {"any": 1}, "ID_a": {}}, twice=True)
    assert read_labels(path).notes == ("train.csv: 6 rows appear twice with the same labels",)
    wide = written(tmp_path / "wide.csv", "slice_id,any\na,1\na,1\nb,0\n")
    found = read_labels(wide, FINDINGS)
    assert found.notes == ("wide.csv: 1 rows appear twice with the same labels",)
    assert found.table["any"].to_dict() == {"a": 1, "b": 0}


@pytest.mark.parametrize("findings", [(), FINDINGS])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slice_id,any\na,1\na,0\n", "slice a appears twice"),
        ("ID,Label\nID_a_any,1\nID_a_any,0\n", "ID_a_any has two different labels"),
        ("slice_id,any\na,0.7\n", "'0.7' is no label; column any holds something other than 0 and 1"),
        ("slice_id,any\na,2\nb,true\n", "'2' is no label"),
        ("ID,Label\nID_a_any,0.3\n", "other than 0 and 1"),
        ("ID,Label\nID_a_any,0\nID_a_subdural,1\nID_b_any,0\n", "slice ID_b lacks some of the findings"),
        ("slice_id,any,subdural\na,1,\n", "'' is no label; column subdural"),
    ],
)
def test_what_one_reader_was_silent_about_is_refused_for_both(text, message, findings, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        read_labels(written(tmp_path / "labels.csv", text), findings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("findings", [(), ("any",)])
@pytest.mark.parametrize(
    "text",
    [
        "slice_id,any\n1.20,True\n007,False\n",
        "slice_id,any\n1.20,true\n007,0\n",
        "slice_id,any\n1.20, 1\n007,0.0\n",
        "picture,any\n1.20,1\n007,0\n",
        "ID,Label\n1.20_any,1\n007_any,0\n",
        "ID,Label,source\n1.20_any,1,x\n007_any,0,y\n",
    ],
)
def test_ids_stay_text_and_labels_may_be_written_as_truth(text, findings, tmp_path):
    table = read_labels(written(tmp_path / "labels.csv", text), findings).table
    assert table["any"].to_dict() == {"1.20": 1, "007": 0}
    assert (table.dtypes == np.uint8).all()


def test_rows_without_any_label_are_left_out_and_said(tmp_path):
    path = written(tmp_path / "slices.csv", "patient_id,slice_id,any,subdural\np,a,1,0\np,b,,\n")
    found = read_labels(path, FINDINGS)
    assert found.table.to_dict("index") == {"a": {"any": 1, "subdural": 0}}
    assert found.notes == ("slices.csv: 1 rows without a label are left out",)


def test_findings_that_were_not_asked_for_are_ignored_and_said(tmp_path):
    path = written(tmp_path / "labels.csv", "ID,Label\nID_a_any,1\nID_a_fracture,0\n")
    found = read_labels(path, FINDINGS)
    assert list(found.table.columns) == ["any"]
    assert found.notes == ("labels.csv: the findings fracture are ignored",)
    assert list(read_labels(path).table.columns) == ["any", "fracture"]
    with pytest.raises(InputError, match=r"no row ends with one of epidural \(as ID_xxx_epidural\)"):
        read_labels(path, ("epidural",))


def test_the_id_column_is_found_by_its_name_wherever_it_stands(tmp_path):
    path = written(tmp_path / "labels.csv", "any,case\n1,a\n0,b\n")
    assert read_labels(path).table["any"].to_dict() == {"a": 1, "b": 0}
    with pytest.raises(InputError, match="needs a column slice_id or case"):
        read_labels(written(tmp_path / "short.csv", "case,patient\na,p\n"), FINDINGS)


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(InputError, match="a folder, not a file; it is not opened"):
        read_labels(tmp_path)
