from __future__ import annotations

import pandas as pd
import pytest

from ctseg.errors import InputError
from ctseg.preprocess.labels import check_label, read_splits


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
