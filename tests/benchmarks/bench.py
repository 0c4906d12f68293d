"""`make bench`: every comparison of this folder in one run, written to docs/performance.md.

`python tests/benchmarks/bench.py Reading Matching` measures some parts and keeps the rest of the page; `--notes` in
place of parts measures none and writes the notes below the tables again.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

sys.path.insert(0, str(Path(__file__).parent))

import test_brain_speed
import test_cohort_speed
import test_evaluate_speed
import test_install_size
import test_match_speed
import test_network_speed
import test_reading_speed
import test_segment_speed
import test_step_speed
import test_whole_match_speed
import torch
from interleaved import Row

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
PARTS: dict[str, Callable[[], list[Row]]] = {
    "Segment": test_segment_speed.rows,
    "Networks": test_network_speed.rows,
    "Reading": test_reading_speed.rows,
    "Brain extraction": test_brain_speed.rows,
    "Cohorts": test_cohort_speed.rows,
    "Matching": test_match_speed.rows,
    "Whole match": test_whole_match_speed.rows,
    "Training steps": test_step_speed.rows,
    "Evaluation": test_evaluate_speed.rows,
    "Installation": test_install_size.rows,
}
PACKAGES = ("numpy", "scipy", "torch", "pydicom", "SimpleITK", "ImageHash", "faiss-cpu", "monai")
HEAD = """# Performance

After this page you know how long the parts of ctseg take beside what would be used instead. `make bench` measures it
and writes this page.

Seconds are CPU seconds of one process with one thread, the least of a few rounds. Both entries of a row are timed in
turn in one run, so that a busy machine slows both: the ratio is what counts. It is the time of the second over that of
the first, so above 1 the first is faster. Where results must be the same, the run fails if they are not. The size of
the installation is in GB, not in seconds. How long the demo takes is in the README; numbers of a GPU are on [a page of
their own](performance-gpu.md).
"""
NOTES: dict[str, tuple[str, ...]] = {
    "Segment": (
        """The default model runs at the machine's matrix rate: 95 billion operations a second in batches of 8 slices of
        144 x 144, products of 1024 x 1024 matrices 89 in the same run (load 12). 60 % of the time of a scan
        with a bleed is that. Batches of one or two slices are slower. Batch norm within the convolutions
        saves 5 % of the network and changes logits by up to 0.0001; it is left as it is. In bfloat16 the
        network takes 0.54 of the time, and logits differ by up to 0.26: `--precision`, never by itself. How
        processes share scans is under [segment](segment.md#many-scans).""",
        """Where the time of a scan goes, with the default model (`tests/benchmarks/segment_stages.py`, eight phantom
        scans of 26 to 42 slices of 512 x 512, all files written): 1.73 CPU seconds, of which the network
        1.03, the brain 0.24, previews 0.09, SEG 0.07, back to the scan's pixels 0.06, reading 0.06 and all
        else 0.17. With `--set engine=ncnn` it is 1.33 and the network 0.67. The growth of lesions (`grow_mm`)
        came later and is not in it: 0.08 CPU seconds for the mask and for each mirror image of a scan with a
        bleed, on a processor of 2017 without AVX-512. There the note on open skulls takes 0.04 s, and the
        edge of bone 0.03 s.""",
        """Other engines beside torch on the same slices of the default model (`tests/benchmarks/engines.py`, load 10):
        ncnn is 1.53 times as fast (logits 0.0002 apart), OpenVINO 1.09, onnxruntime 1.01; in bfloat16, torch
        1.89 and OpenVINO 2.17 (0.87 and 0.56 apart, on noise).""",
    ),
    "Networks": (
        """The numbers with ncnn came later, on another machine without bfloat16 instructions and AVX-512 (AMD EPYC,
        Zen 1, load 2). There the FCN of width 64 takes 0.522 s a slice by `--set engine=ncnn` and 1.09 by torch with
        channels last (ratio 2.08; logits at most 0.00061 % of their spread apart). The scan of ten slices takes
        4.93 s so, 9.69 by torch, and 11.2 by the released code: ratios of 2.28 and 1.16 to the released code.""",
    ),
    "Whole match": (
        """SHA-256 runs beside the rest in a thread, by the processor's own instructions. On slices of 24 x 24, where
        pictures count for nothing, a match of as many slices takes 2.0 CPU seconds.""",
    ),
    "Training steps": (
        """bfloat16 is worth 2.0 to 2.2 on this machine (load 13): matrix products of 2048 x 2048 run at 194 and 89
        billion operations a second, 3 x 3 convolutions at 220 and 110 (64 channels of 240 x 240, 256 of 60 x 60). More
        than that no step can gain here.""",
        """`torch.compile` does not help: a step of stage 2 at the demo's widths (4 slices of 96 x 96) takes 0.318 CPU
        seconds compiled and 0.276 as it is, after 86 CPU seconds of compiling (`tests/benchmarks/compiled_step.py`).
        There is no option for it.""",
    ),
    "Installation": (
        """Of 1.19 GB, torch has 0.699, of which are 0.086 its tests, 0.052 its programs and 0.039 its headers; what
        torch alone brings (sympy, networkx, mpmath, setuptools, fsspec) 0.040; scipy 0.114, numpy 0.057. The
        rest is 0.28, and 0.09 of it would have to go. What could is used by commands of the first hour:
        matplotlib and what it brings (0.056; figures of `evaluate` and trainings), pandas (0.044; tables),
        GDCM (0.044; compressed DICOM), scikit-image (0.032; brain extraction where bone is missing, structure
        sets), highdicom (0.025; DICOM SEG). imagehash (0.009 with PyWavelets) alone is not, and would not
        reach the goal.""",
    ),
}
"""What is to be said below a table."""
TABLE = """| what | first | s | second | s | ratio | results |
|---|---|---|---|---|---|---|"""


def main(names: Sequence[str]) -> None:
    """Measure the named parts, or all, and write the page; what it says of other parts is kept."""
    torch.set_num_threads(1)
    sections = _sections()
    for title, rows in PARTS.items():
        if not names or title in names:
            sys.stderr.write(f"{title} ...\n")
            sections[title] = _section(rows())
    text = [HEAD, *(f"## {title}\n\n{_noted(title, sections[title])}\n" for title in PARTS if title in sections)]
    PAGE.write_text("\n".join(text), encoding="utf-8")
    sys.stderr.write(f"{PAGE}\n")


def _sections() -> dict[str, str]:
    """The parts of the page as it is: title -> text."""
    if not PAGE.exists():
        return {}
    found = (part.partition("\n") for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:])
    return {title: text[: text.rindex("|\n") + 1].strip() for title, _, text in found}


def _noted(title: str, section: str) -> str:
    """A part's machine and table, and what is to be said of it."""
    notes = [fill(" ".join(note.split()), 120, break_on_hyphens=False) for note in NOTES.get(title, ())]
    return "\n\n".join([section, *notes])


def _section(rows: Sequence[Row]) -> str:
    return "\n".join([*_machine(), "", TABLE, *map(_line, rows)])


def _line(row: Row) -> str:
    (first, ours), (second, other) = list(row.seconds.items())[:2]
    return f"| {row.what} | {first} | {ours:.3g} | {second} | {other:.3g} | {row.ratio:.2f} | {row.same} |"


def _machine() -> list[str]:
    """Processor, cores, whether it multiplies in bfloat16, and versions."""
    has_bf16 = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
    has_amx = bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
    instructions = ", ".join(name for name, there in (("AVX512-BF16", has_bf16), ("AMX", has_amx)) if there) or "none"
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES if _is_installed(name))
    machine = f"{_processor()}, {os.cpu_count()} cores; bfloat16 instructions: {instructions}"
    lines = [
        f"- Machine: {machine}; load when it was measured: {os.getloadavg()[0]:.0f}.",
        f"- Versions: Python {platform.python_version()}, {found}.",
    ]
    return [fill(line, 120, subsequent_indent="  ") for line in lines]


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ModuleNotFoundError:
        return False


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main(sys.argv[1:])
