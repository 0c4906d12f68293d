"""Six processes share 300 tiny scans with `--share` while one after the other is killed; each scan is done once.

    python tests/benchmarks/share_kills.py [--scans 300] [--processes 6] [--kills 20]

Each kill hits a process that is at work on a scan, and another one is started instead. It ends with one line, or with
exit code 1 where a scan is missing, was said twice, or differs from what one call alone gives.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import cohorts

WORDS = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "--set", "preview=false", "-o"]


def table(folder: Path) -> list[dict[str, str]]:
    """The rows of a segmentation without their times."""
    with (folder / "volumes.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def main() -> int:
    """Run it and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("scans", 300), ("processes", 6), ("kills", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        where = Path(name)
        cohorts.ct_scans(where / "scans", given.scans)
        cohorts.model(where / "run")
        started = time.monotonic()
        texts = cohorts.race(
            [*WORDS, "out", "--share"], where, given.scans, processes=given.processes, kills=given.kills, patience=7200
        )
        seconds = time.monotonic() - started
        subprocess.run([sys.executable, "-m", "ctseg", "-q", *WORDS, "alone"], cwd=where, check=True)
        rows, alone = table(where / "out"), table(where / "alone")
        masks = [cohorts.contents(where / part) for part in ("out", "alone")]
        said = cohorts.said(texts)
        left = [path.name for path in where.iterdir() if path.name.startswith(".")]
    for part in masks:
        del part["volumes.csv"], part["volumes.json"]
    print(  # noqa: T201 - this is the result
        f"{given.scans} scans, {given.processes} processes, {given.kills} kills, {seconds:.0f} s: {len(rows)} rows, "
        f"{len({row['case'] for row in rows})} cases, {len(said)} said, {len(said) - len(set(said))} of them twice; "
        f"as of one call alone: {rows == alone and masks[0] == masks[1]}; left over: {left}"
    )
    good = rows == alone and masks[0] == masks[1] and len(said) == len(set(said)) and not left
    return 0 if good and len(rows) == given.scans else 1


if __name__ == "__main__":
    sys.exit(main())
