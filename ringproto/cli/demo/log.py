"""What a processor of the demonstration writes down, and how it travels to the supervisor.

The log is the ordered stream that the application saw, event by event, with nothing derived: the supervisor judges it
without trusting the process that wrote it. With the log comes what the ring says that it delivered, as a digest now and
then, for the supervisor to compare. Most entries are deliveries, so they are short arrays of JSON; the ring of a
delivery is left empty when it is that of the last regular configuration, which is the only right one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple, Union

__all__ = [
    "PRIORITIES",
    "Complete",
    "Delivered",
    "Entry",
    "Note",
    "ProcessLog",
    "Regular",
    "StreamDigest",
    "Transitional",
    "encode_all",
]

PRIORITIES = {"h": "HIGH", "l": "LOW", "r": "RECOVERY"}


class Regular(NamedTuple):
    """A regular configuration was installed."""

    time_s: float
    """On the host's monotonic clock, which all processes share."""
    ring: str
    members: tuple[int, ...]
    joined: tuple[int, ...]
    left: tuple[int, ...]
    primary: bool


class Transitional(NamedTuple):
    """A transitional configuration came."""

    time_s: float
    ring: str
    """The ring that it ends."""
    members: tuple[int, ...]


class Complete(NamedTuple):
    """The barrier is complete."""

    time_s: float
    ring: str
    seq: int
    members: tuple[int, ...]


class Delivered(NamedTuple):
    """A message was delivered."""

    ring: str
    seq: int
    priority: str
    """A key of ``PRIORITIES``."""
    sender: int
    mid: str
    """``node.life.count`` of the sender, counted for each priority from 0; for RECOVERY the kind."""
    checksum: int
    """CRC-32 of the payload."""


class Note(NamedTuple):
    """Something that the application did itself, for the timeline."""

    time_s: float
    what: str
    facts: dict[str, Any]


Entry = Union[Regular, Transitional, Complete, Delivered, Note]

_LETTERS: dict[type, str] = {Regular: "R", Transitional: "T", Complete: "C", Note: "N"}
_CLASSES: dict[str, Any] = {letter: kind for kind, letter in _LETTERS.items()}


def encode_all(entries: Iterable[Entry], ring: str) -> tuple[list[list[Any]], str]:
    """The entries as JSON values, and the last regular configuration's ring after them (before: ``ring``)."""
    values: list[list[Any]] = []
    for entry in entries:
        if isinstance(entry, Delivered):
            values.append(["D", "" if entry.ring == ring else entry.ring, *entry[1:]])
        else:
            if isinstance(entry, Regular):
                ring = entry.ring
            values.append([_LETTERS[type(entry)], *entry])
    return values, ring


class StreamDigest:
    """A digest of a stream of events, which grows with it. Times do not count, and notes are no events."""

    def __init__(self) -> None:
        self.events = 0
        """How many events are in it."""
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, entry: Entry) -> None:
        """Take the next one."""
        if isinstance(entry, Note):
            return
        self.events += 1
        fields = entry if isinstance(entry, Delivered) else entry[1:]
        self._hash.update(repr((type(entry).__name__, *fields)).encode())

    def state(self) -> tuple[int, str]:
        """The number of events so far, and their digest."""
        return self.events, self._hash.hexdigest()


@dataclasses.dataclass
class ProcessLog:
    """One process: a processor from its start to its end, with its log."""

    node: int
    number: int
    """0 for the first process of the node, 1 for the one that came after it."""
    entries: list[Entry] = dataclasses.field(default_factory=list)
    audited: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    """What the ring said, now and then, that it had delivered: so many events, with this digest."""
    killed: bool = False
    accepted: dict[str, int] = dataclasses.field(default_factory=dict)
    """At the end of a process that was not killed: how many records were accepted, by priority."""
    report: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The final state of a process that was not killed."""
    ring: str = ""

    @property
    def name(self) -> str:
        """How reports call it: ``2`` or, after its return, ``2'``."""
        return f"{self.node}{chr(39) * self.number}"

    def extend(self, values: Iterable[list[Any]]) -> list[Entry]:
        """Take entries as they came over the pipe, and return them decoded.

        Raises:
            ValueError, TypeError, KeyError: they are not what :func:`encode_all` makes.
        """
        fresh: list[Entry] = []
        for letter, *fields in values:
            if letter == "D":
                ring, *rest = fields
                fresh.append(Delivered(ring or self.ring, *rest))
                continue
            entry = _CLASSES[letter](*(tuple(f) if isinstance(f, list) else f for f in fields))
            if isinstance(entry, Regular):
                self.ring = entry.ring
            fresh.append(entry)
        self.entries.extend(fresh)
        return fresh
