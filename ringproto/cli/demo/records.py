"""Real records for the demonstration: the lines of a file, or the Unicode character database.

Every Python has the database of Unicode characters in its standard library. The characters with a name of their own
(not one computed from the code point, as for Chinese ideographs) are some 33,000 records, and no two machines with one
version of Python differ in them. A file gives one record for each line that is not empty. What is read is bounded in
records, in bytes and in the length of a line.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ringproto._processes.failures import UsageError

__all__ = ["BYTES_MAX", "LINE_MAX", "RECORDS_MAX", "Record", "Records", "fingerprint", "load", "share"]

RECORDS_MAX = 200_000
"""Most records that the demonstration takes from a file."""
BYTES_MAX = 32 * 2**20
"""Most bytes that the demonstration takes from a file."""
LINE_MAX = 2**20 - 1024
"""Longest line, in bytes: with its header it must fit into one message."""

_COMPUTED_NAMES = (
    "CJK UNIFIED IDEOGRAPH-",
    "CJK COMPATIBILITY IDEOGRAPH-",
    "HANGUL SYLLABLE ",
    "KHITAN SMALL SCRIPT CHARACTER-",
    "NUSHU CHARACTER-",
    "TANGUT IDEOGRAPH-",
)


class Record(NamedTuple):
    """One entry for the replicated store."""

    key: bytes
    value: bytes


class Records(NamedTuple):
    """The records of one source."""

    source: str
    """What they are, for people."""
    records: list[Record]
    left_out: bool
    """Whether the source has more than the demonstration takes."""


def load(file: str | None) -> Records:
    """The records of a file, or of the Unicode character database when ``file`` is ``None``.

    Raises:
        UsageError: the file cannot be read, is not a regular file, or has a line that is too long.
    """
    if file is None:
        source = f"the Unicode {unicodedata.unidata_version} character database of this Python"
        return Records(source, list(_unicode_records()), False)
    return _file_records(file)


def fingerprint(records: Iterable[Record]) -> str:
    """A digest by which two processes know that they read the same records."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in records:
        digest.update(b"%d %d " % (len(key), len(value)))
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()


def share(records: Sequence[Record], node: int, nodes: Sequence[int]) -> list[Record]:
    """The records that one node sends: every record belongs to exactly one node."""
    return list(records[sorted(nodes).index(node) :: len(nodes)])


def _unicode_records() -> Iterable[Record]:
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        name = unicodedata.name(character, "")
        if not name or name.startswith(_COMPUTED_NAMES):
            continue
        fields = (
            name,
            unicodedata.category(character),
            str(unicodedata.combining(character)),
            unicodedata.bidirectional(character),
            unicodedata.decomposition(character),
            str(unicodedata.mirrored(character)),
        )
        yield Record(b"U+%04X" % point, ";".join(fields).encode())


def _file_records(file: str) -> Records:
    records: list[Record] = []
    left_out = False
    try:
        # A pipe or a terminal could be read only once, and every process reads the file.
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise UsageError(f"{file} is not a regular file")
        with Path(file).open("rb") as lines:
            size = number = 0
            while line := lines.readline(LINE_MAX + 2):
                number += 1
                value = line.rstrip(b"\r\n")
                if len(value) > LINE_MAX:
                    raise UsageError(f"line {number} of {file} is longer than {LINE_MAX} bytes, the most for a record")
                if not value:
                    continue
                size += len(value)
                if len(records) == RECORDS_MAX or size > BYTES_MAX:
                    left_out = True
                    break
                records.append(Record(b"line %d" % number, value))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    return Records(file, records, left_out)
