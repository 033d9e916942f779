"""What a bystander reads in a datagram, by ``docs/wire.md`` alone.

The network of the simulator and those who watch it do not ask the core what its datagrams mean. They read the few
fields that they need at their places, and only in datagrams whose checksum is right: what was damaged on the way says
nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from ringproto.types import RingId

__all__ = [
    "ACKNOWLEDGEMENT",
    "BEACON",
    "CHALLENGE",
    "COMMIT",
    "DATA",
    "JOIN",
    "KINDS",
    "LEAVE",
    "REFUSE",
    "RESPONSE",
    "TOKEN",
    "WAKE",
    "Chunk",
    "CommitSeen",
    "DataSeen",
    "JoinSeen",
    "TokenSeen",
    "intact",
    "kind_of",
    "read_commit",
    "read_data",
    "read_identity",
    "read_join",
    "read_token",
    "sealed",
    "sender_of",
]

DATA, TOKEN, JOIN, COMMIT, BEACON, WAKE, LEAVE, REFUSE, ACKNOWLEDGEMENT, CHALLENGE, RESPONSE = range(1, 12)

KINDS = {
    DATA: "data",
    TOKEN: "token",
    JOIN: "join",
    COMMIT: "commit",
    BEACON: "beacon",
    WAKE: "wake",
    LEAVE: "leave",
    REFUSE: "refuse",
    ACKNOWLEDGEMENT: "acknowledgement",
    CHALLENGE: "challenge",
    RESPONSE: "response",
}
"""The second byte of a datagram, and what it says."""

HEADER = 16
TRAILER = 4
IDENTITY = 28
FLAG_RECOVERED = 2

_ring = struct.Struct(">QIQ")
_data = struct.Struct(">QIQQQ")
_commit = struct.Struct(">IQIQIHHH")
_entry = struct.Struct(">IQB20sQQH")
_join = struct.Struct(">QHH")
_token = struct.Struct(">IQIQQ")


def kind_of(datagram: bytes) -> str:
    """What a datagram is, by its second byte: a name from ``KINDS``, or "?"."""
    return KINDS.get(datagram[1], "?") if len(datagram) > 1 else "?"


def intact(datagram: bytes) -> bool:
    """Whether it has a header of version 1 and its checksum is right."""
    return (
        len(datagram) >= HEADER + TRAILER
        and datagram[0] == 1
        and crc32(memoryview(datagram)[:-TRAILER]) == int.from_bytes(datagram[-TRAILER:], "big")
    )


def sealed(datagram: bytes) -> bytes:
    """The same with the checksum that its bytes ask for in place of its last four."""
    whole = datagram[:-TRAILER]
    return whole + crc32(whole).to_bytes(TRAILER, "big")


def sender_of(datagram: bytes) -> int:
    """The node id in the header."""
    return int.from_bytes(datagram[12:16], "big")


class Chunk(NamedTuple):
    """A message of a data packet, or a piece of one."""

    priority: int
    first: bool
    last: bool
    control: bool


class DataSeen(NamedTuple):
    """A data packet; of a recovered one, the place that it had on its old ring."""

    ring_id: RingId
    seq: int
    message_seq: int
    recovered: bool
    body: int

    def chunks(self, datagram: bytes) -> Iterator[Chunk]:
        """What is packed in it."""
        at = self.body
        end = len(datagram) - TRAILER
        while at + 3 <= end:
            flags = datagram[at]
            yield Chunk(flags & 3, bool(flags & 8), bool(flags & 16), bool(flags & 32))
            at += 3 + (datagram[at + 1] << 8 | datagram[at + 2])


def read_data(datagram: bytes) -> DataSeen:
    """Of an intact data packet. Raises struct.error for a forged one that is too short."""
    sequence, representative, nonce, seq, message_seq = _data.unpack_from(datagram, HEADER)
    body = HEADER + _data.size
    if not datagram[3] & FLAG_RECOVERED:
        return DataSeen(RingId(sequence, representative, nonce), seq, message_seq, False, body)
    old = RingId(*_ring.unpack_from(datagram, body))
    old_seq = int.from_bytes(datagram[body + _ring.size : body + _ring.size + 8], "big")
    return DataSeen(old, old_seq, message_seq, True, body + _ring.size + 8)


class CommitSeen(NamedTuple):
    """One datagram of a commit token."""

    representative: int
    hop: int
    members: int
    nodes: tuple[int, ...]
    """Of the entries in this datagram."""
    obliged: bool
    """Whether one of them speaks of obligations."""


def read_commit(datagram: bytes) -> CommitSeen:
    """Of an intact datagram of a commit token. Raises struct.error for a forged one whose counts are wrong."""
    _, _, representative, _, hop, members, _, count = _commit.unpack_from(datagram, HEADER)
    at = HEADER + _commit.size
    nodes = []
    obliged = False
    for _ in range(count):
        node, _, _, _, _, _, obligations = _entry.unpack_from(datagram, at)
        nodes.append(node)
        obliged = obliged or obligations > 0
        at += _entry.size + 4 * obligations
    return CommitSeen(representative, hop, members, tuple(nodes), obliged)


class TokenSeen(NamedTuple):
    """Which token it is; its copies differ in other bytes."""

    ring_id: RingId
    token_seq: int


def read_token(datagram: bytes) -> TokenSeen:
    """Of an intact token. Raises struct.error for a forged one that is too short."""
    _, sequence, representative, nonce, token_seq = _token.unpack_from(datagram, HEADER)
    return TokenSeen(RingId(sequence, representative, nonce), token_seq)


class JoinSeen(NamedTuple):
    """A join."""

    ring_sequence: int
    proc_set: frozenset[int]
    fail_set: frozenset[int]


def read_join(datagram: bytes) -> JoinSeen:
    """Of an intact join. Raises struct.error for a forged one whose counts are wrong."""
    at = HEADER + IDENTITY
    ring_sequence, alive, fails = _join.unpack_from(datagram, at)
    nodes = struct.unpack_from(f">{alive + fails}I", datagram, at + _join.size)
    return JoinSeen(ring_sequence, frozenset(nodes), frozenset(nodes[alive:]))


def read_identity(datagram: bytes) -> tuple[int, int]:
    """Incarnation and serial, of an intact join, beacon or leave. Raises struct.error for one that is too short."""
    incarnation, serial = struct.unpack_from(">QQ", datagram, HEADER)
    return int(incarnation), int(serial)
