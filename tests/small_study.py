"""A study of the whole pipeline that takes seconds: two MR, two CT and two held-out CT patients at 48 x 48 pixels."""

from __future__ import annotations

COHORT = """
[[step]]
command = "phantom"
output = "phantom"
mr = 2
ct = 2
ct_test = 2
workers = 0
set = { mr_matrix = 96, mr_slices = 40, ct_matrix = 128, ct_slice_step_mm = 12 }

[[step]]
name = "mr"
command = "preprocess"
input = "phantom/Task01_BrainTumour"
output = "sets/mr"
size = 48
slices = "14:26"
split = "0.5:0.5"
workers = 0
"""
"""Phantom and MR slices, with which other studies begin, too."""
STUDY = (
    COHORT
    + """
[[step]]
name = "ct"
command = "preprocess"
input = "phantom/rsna/stage_2_train"
output = "sets/ct"
size = 48
labels = "phantom/rsna/stage_2_train.csv"
select = "intraparenchymal"
workers = 0

[[step]]
command = "match"
src = "sets/mr"
tgt = "sets/ct"
output = "pairs.csv"

[[step]]
name = "match-target"
command = "match"
src = "sets/mr"
tgt = "sets/ct"
direction = "target"
output = "pairs-stage2.csv"

[[step]]
command = "synth-train"
src = "sets/mr"
tgt = "sets/ct"
pairs = "pairs.csv"
output = "runs/synthesis"
preset = "smoke"

[[step]]
command = "synthesize"
model = "runs/synthesis"
src = "sets/mr"
output = "sets/pseudo-ct"

[[step]]
command = "das-train"
src = "sets/pseudo-ct"
tgt = "sets/ct"
pairs = "pairs-stage2.csv"
output = "runs/amd-das"
preset = "smoke"

[[step]]
command = "segment"
input = "phantom/rsna/stage_2_test"
model = "runs/amd-das"
output = "masks/amd-das"
threshold = 0.3
workers = 0

[[step]]
command = "evaluate"
pred = "masks/amd-das"
ref = "phantom/truth/iph/test"
labels = "phantom/truth/stage_2_test.csv"
output = "evaluation"
"""
)
