"""The log of one processor, on the disk before anybody can hear of what it says.

The ring appends what happens to a list. Before datagrams leave, and when the processor ends, the list is written out as
JSON lines (ringproto.testing.judge.transcript). So a log that SIGKILL ended has all that the killed process ever told
others, and the judge may hold it against every rule as the log of a crash at that place. A line that was being written
then is torn; nobody has heard of what it would have said.

Beside the log stands the stream: what the application was given, written each time after what the ring said of it. So
whatever ended the process, the stream is no longer than the log, and the judge may hold one against the other.

With the log goes what stable storage would keep, the ring sequence, in a file that is replaced as a whole.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Any

from ringproto.events import Event
from ringproto.testing.judge.transcript import Submit, record_from_audit, record_from_event, record_to_line
from ringproto.types import Priority

__all__ = ["ChaosLog", "SequenceFile", "stream_of"]


def stream_of(log: Path) -> Path:
    """Where the stream of the application stands whose ring has this log."""
    return log.with_suffix(".stream")


class ChaosLog:
    """Writes the audit list and the events of one incarnation. Raises ``OSError`` when the disk does not take it."""

    def __init__(self, file: Path) -> None:
        self.audit: list[tuple[Any, ...]] = []
        """For ``open_ring``."""
        self.events: list[Event] = []
        """For what the application was given."""
        self.given = 0
        """How many of those were written."""
        self.records = 0
        """How many were written."""
        self.accepted = 0
        """How many of them say that a ``HIGH`` or ``LOW`` message was accepted."""
        self._waiting_for: frozenset[int] | None = None
        self._ended = False
        self._file = file.open("xb", buffering=0)
        self._stream = stream_of(file).open("xb", buffering=0)

    def write(self, waiting_for: frozenset[int] | None) -> None:
        """Write what is in the lists, and ``waiting_for`` if it is another one than before (``None``: not known)."""
        audit = self.audit
        self._ended = self._ended or any(entry[0] == "STOP" for entry in audit)
        if waiting_for is not None and waiting_for != self._waiting_for and not self._ended:
            self._waiting_for = waiting_for
            audit.append(("WAIT", waiting_for))
        if audit:
            self._write_audit()
        if self.events:
            lines = [record_to_line(record_from_event(event)) + "\n" for event in self.events]
            self.given += len(lines)
            self.events.clear()
            _write_all(self._stream, lines)

    def _write_audit(self) -> None:
        audit = self.audit
        lines = []
        for entry in audit:
            record = record_from_audit(entry)
            lines.append(record_to_line(record) + "\n")
            if isinstance(record, Submit) and record.priority is not Priority.RECOVERY:
                self.accepted += 1
        self.records += len(lines)
        audit.clear()
        _write_all(self._file, lines)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._stream.close()


def _write_all(file: FileIO, lines: list[str]) -> None:
    data = memoryview("".join(lines).encode())
    while data:
        data = data[file.write(data) :]


class SequenceFile:
    """The ring sequence of one processor, kept over its lives."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stored = self.load()

    def load(self) -> int:
        """What was stored last; 0 if nothing was."""
        try:
            return int(self._file.read_text())
        except FileNotFoundError:
            return 0

    def store(self, sequence: int) -> None:
        """Store it if it is another one than before."""
        if sequence != self._stored:
            new = self._file.with_suffix(".new")
            new.write_text(str(sequence))
            os.replace(new, self._file)
            self._stored = sequence
