"""Reading a small TOML file that may be anything.

The library that takes it apart recurses for each bracket and takes quadratic time for a key of many parts. So the file
is looked over first, in one pass: it must be a regular file of bounded size, and neither brackets nor keys may go
deeper than any setting does.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from ringproto._processes.failures import UsageError
from ringproto._processes.files import read_regular
from ringproto.cli._common import need_extra

__all__ = ["BYTES_MAX", "read_toml"]

BYTES_MAX = 2**20
"""Largest file that is read."""
_DEPTH_MAX = 8
"""Deepest brackets, and most parts of a key."""
_TOKEN = re.compile(r'"""|\'\'\'|["\'#\[\]{}.,=]')
# What is looked for within a string or a comment, by what it begins with: its end, and what a backslash hides. A string
# of several lines may end with two of its quotes, in front of the three that close it.
_ENDS = {
    '"""': re.compile(r'"{3,5}|\\.', re.DOTALL),
    "'''": re.compile("'{3,5}"),
    '"': re.compile(r'["\n]|\\.'),
    "'": re.compile(r"['\n]"),
    "#": re.compile(r"\n"),
}


def read_toml(file: str) -> dict[str, Any]:
    """The values in a TOML file of at most ``BYTES_MAX`` bytes.

    Raises:
        UsageError: it cannot be read, is no regular file, is too large, or is not TOML; or the package that reads
            TOML is missing.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        need_extra("tomli")
        import tomli as tomllib
    try:
        text = read_regular(file, BYTES_MAX).decode().replace("\r\n", "\n")
        _look_over(file, text)
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of the library, and UnicodeDecodeError is one too
        raise UsageError(f"{file} is not TOML: {error}") from error


def _look_over(file: str, text: str) -> None:
    depth = parts = place = 0
    while token := _TOKEN.search(text, place):
        kind, place = token[0], token.end()
        if kind in _ENDS:
            end = _end_of(kind, text, place)
            if end is None:
                return  # the library says that it is not closed
            place = end
        elif kind == ".":
            parts += 1
        else:
            parts = 0
            depth = depth + 1 if kind in "[{" else max(0, depth - 1) if kind in "]}" else depth
        if depth > _DEPTH_MAX:
            raise UsageError(f"{file} is not a file of settings: its brackets are more than {_DEPTH_MAX} deep")
        if parts >= _DEPTH_MAX:
            raise UsageError(f"{file} is not a file of settings: it has a key of more than {_DEPTH_MAX} parts")


def _end_of(kind: str, text: str, place: int) -> int | None:
    """Where a string or comment ends that begins before ``place``; ``None`` if it does not."""
    while found := _ENDS[kind].search(text, place):
        place = found.end()
        if not found[0].startswith("\\"):
            return place
    return None
