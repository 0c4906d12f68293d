"""What a library says about a DICOM file, without what is in the file: its elements may hold a patient's name."""

from __future__ import annotations

import gzip
import logging
import re
import warnings
import zipfile
import zlib
from traceback import walk_stack

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ctseg.errors import first_line, without_quotes

OWN_WORDS = (InvalidDicomError, EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error)
"""Errors whose texts say what is wrong in words of the library, but for names in quotes."""
WORDS_OF_CODECS = frozenset({"RLE", "JPEG", "pixel", "data"})
TAG = re.compile(r"\([0-9A-Fa-f]{4}, ?[0-9A-Fa-f]{4}\)")
KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]{3,63}")
MOST_NAMED = 4
LIBRARIES = ("pydicom", "highdicom", "nibabel.global")
"""Loggers of libraries that quote what they read."""
QUOTING_MODULES = re.compile(r"(pydicom|highdicom|ctseg\.io\.dicom|ctseg\.inference\.dicom_seg)(\..*)?$")
"""Where their warnings are counted to come from."""


class _WithinCtseg:
    """As the pattern of a filter of warnings: a module of these libraries, while ctseg is at work."""

    def match(self, module: str) -> bool:
        """Asked by `warnings`, for each warning that is given."""
        return bool(QUOTING_MODULES.match(module)) and within_ctseg()


def within_ctseg() -> bool:
    """Whether a function of ctseg is among those that are being called."""
    names = (str(frame.f_globals.get("__name__", "")) for frame, _ in walk_stack(None))
    return any(name.partition(".")[0] == "ctseg" and name != __name__ for name in names)


def _is_heard(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL or not within_ctseg()


def keep_quiet() -> None:
    """No warning and no log line of these libraries reaches the terminal: what matters is checked and said by ctseg.

    A program that calls them itself gets its own. highdicom logs by a logger a module, which no filter reaches: its log
    lines below critical are left out everywhere.
    """
    logging.getLogger("highdicom").setLevel(logging.CRITICAL)
    for name in LIBRARIES:
        logging.getLogger(name).addFilter(_is_heard)
    warnings.filters.insert(0, ("ignore", None, Warning, _WithinCtseg(), 0))  # type: ignore[attr-defined]
    getattr(warnings, "_filters_mutated", int)()  # what was decided by the older filters is forgotten


def unquoted(error: BaseException, dataset: Dataset | None = None) -> str:
    """An error without what it quotes: its text where that is known to be of the library, else the elements it names.

    Args:
        error: raised while a DICOM file was read or written.
        dataset: the file's elements where they are known: then the text is shown without their values.
    """
    said = str(error)
    if isinstance(error, OWN_WORDS):
        return without_quotes(first_line(error)).removesuffix(" for file ...")
    if dataset is not None:
        return _without_values(error, dataset)
    words = [word for word in KEYWORD.findall(said) if tag_for_keyword(word) is not None]
    named = list(dict.fromkeys([*TAG.findall(said), *words]))[:MOST_NAMED]
    return type(error).__name__ + (f": {', '.join(named)}" if named else "")


def _without_values(error: BaseException, dataset: Dataset) -> str:
    try:
        values = {part for element in dataset.iterall() for part in str(element.value).split("\\") if len(part) > 1}
    except Exception:  # an element that cannot be converted: then nothing is known
        return unquoted(error)
    text = first_line(error, 160)
    for value in sorted(values - WORDS_OF_CODECS, key=len, reverse=True):
        text = text.replace(value, "...")
    return text
