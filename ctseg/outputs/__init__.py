"""Outputs that destroy nothing: what a command may write to, and how it replaces what it wrote before.

`guard_output` and `guard_file` refuse a path that is an input, holds one, or holds what ctseg did not write.
`whole_folder`, `growing_folder`, `continued_folder` and `shared_folder` then write it. Every folder carries a mark,
`.ctseg.json`, which names its files. See docs/reliability.md.
"""

from ctseg.outputs.continued import continued_folder, shared_folder
from ctseg.outputs.folders import (
    begin,
    finish,
    growing_folder,
    new_folder,
    remove_output,
    sole,
    whole_folder,
)
from ctseg.outputs.from_python import filled_folder, run_folder
from ctseg.outputs.guard import (
    Output,
    check_still_there,
    guard_file,
    guard_output,
    guard_state,
    is_still_there,
    to_stderr,
)
from ctseg.outputs.leftovers import recover, refuse_changed, what_changed
from ctseg.outputs.mark import MARK, STUDY, Mark, read_file_mark, read_mark, write_file_mark
from ctseg.outputs.single import write_file_output

__all__ = [
    "MARK", "STUDY", "Mark", "Output", "begin", "check_still_there", "continued_folder", "filled_folder", "finish",
    "growing_folder", "guard_file", "guard_output", "guard_state", "is_still_there", "new_folder", "read_file_mark",
    "read_mark", "recover", "refuse_changed", "remove_output", "run_folder", "shared_folder", "sole", "to_stderr",
    "what_changed", "whole_folder", "write_file_mark", "write_file_output",
]  # fmt: skip
