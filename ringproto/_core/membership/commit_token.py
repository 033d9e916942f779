"""The commit token: two rotations in which the members of the new ring tell each other of their old rings (Totem,
5.2).

It has an entry for each member, more than one datagram holds when there are many; its parts are put together here.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from ringproto._core.wire.membership import CommitPart, Entry

NO_RING = bytes(20)


class CommitToken(NamedTuple):
    ring: bytes
    hop: int
    """Rises with every hop."""
    entries: tuple[Entry, ...]
    """By node id."""

    @property
    def members(self) -> tuple[int, ...]:
        return tuple(entry.node for entry in self.entries)

    @property
    def complete(self) -> bool:
        return all(entry.filled for entry in self.entries)

    def filled(self, mine: Entry) -> CommitToken:
        """The same with the entry of one member."""
        return self._replace(entries=tuple(mine if entry.node == mine.node else entry for entry in self.entries))


def empty_entry(node: int) -> Entry:
    return Entry(node, 0, False, NO_RING, 0, 0, ())


class Assembler:
    """Puts the parts of one commit token together; parts of another begin it anew, so it holds at most one."""

    __slots__ = ("_entries", "_key", "_members")

    def __init__(self) -> None:
        self._key: tuple[bytes, int] = (NO_RING, 0)
        self._members = 0
        self._entries: dict[int, Entry] = {}

    def add(self, part: CommitPart) -> CommitToken | None:
        """The whole token, when this was the part that it lacked. A part that contradicts the others is dropped."""
        key = (part.ring, part.hop)
        if key != self._key or part.members != self._members:
            self._key = key
            self._members = part.members
            self._entries = {}
        for index, entry in enumerate(part.entries, part.first):
            self._entries[index] = entry
        if len(self._entries) < self._members:
            return None
        entries = tuple(self._entries[index] for index in range(self._members))
        self._key = (NO_RING, 0)
        self._entries = {}
        if any(low.node >= high.node for low, high in itertools.pairwise(entries)):
            return None
        return CommitToken(part.ring, part.hop, entries)
