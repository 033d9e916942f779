"""The datagrams of membership: JOIN, COMMIT, BEACON, WAKE, LEAVE, REFUSE, and how large they are.

They are sent while rings form, merge and end, and when an idle one is to turn again, never for each message; so this
room is not compiled. The envelope, and what every message goes through, is ``wire.py``'s; the bodies are specified in
``docs/wire.md`` like all others, and what is said there of untrusted bytes holds here too: a decoder checks everything
that can be checked without knowing the state of the ring, and raises :class:`Malformed`.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from ringproto._core.wire import HEADER_SIZE, SEQUENCE_MAX, TRAILER_SIZE, Codec, Kind, Malformed, rising
from ringproto.types import NODE_MAX

_HOP_MAX = 2**31 - 1
"""No honest commit token comes near it."""
PATIENCE_MAX = 64
"""For so many token timeouts a member may ask while it recovers."""
_PACKET_MAX = 2**63 - 1
"""The highest number of a packet, as in DATA."""

_identity = struct.Struct(">QQHHIHH")
_join = struct.Struct(">QHH")
_beacon = struct.Struct(">20sHH")
_commit = struct.Struct(">I20sIHHH")
_entry = struct.Struct(">IQB20sQQH")
_refuse = struct.Struct(">IQH")


class Limits(NamedTuple):
    """What all processors of a ring must agree on, as each join and beacon says it."""

    quorum: int
    members_max: int
    message_size_max: int
    window_size: int
    datagram_size: int


class Identity(NamedTuple):
    """Who speaks, at the head of every datagram of membership."""

    incarnation: int
    """64 random bits of this life of the processor."""
    serial: int
    """Rises with every datagram of membership of this incarnation, so that late copies are known."""
    limits: Limits


class Join(NamedTuple):
    identity: Identity
    ring_sequence: int
    """The highest ring sequence that the sender knows."""
    proc_set: tuple[int, ...]
    fail_set: tuple[int, ...]


class Beacon(NamedTuple):
    """Here is my ring, and this is whom I hear."""

    identity: Identity
    ring: bytes
    members: tuple[int, ...]
    heard: tuple[int, ...]
    """Of whom a join or a beacon came to the sender in the last few ``merge_detect_s``."""


class Leave(NamedTuple):
    """I am leaving this ring."""

    identity: Identity
    ring: bytes


class Entry(NamedTuple):
    """What one member writes into the commit token about its old ring."""

    node: int
    incarnation: int
    filled: bool
    old_ring: bytes
    aru: int
    high_delivered: int
    obligations: tuple[int, ...]
    """Processors whose messages it promised to deliver in a recovery that it did not see the end of."""
    patience: int = 1
    """For how many token timeouts the token is to be waited for until it has unblocked."""


class CommitPart(NamedTuple):
    """One datagram of a commit token, which has as many as its entries need."""

    destination: int
    ring: bytes
    hop: int
    members: int
    first: int
    entries: tuple[Entry, ...]


class Refuse(NamedTuple):
    target: int
    target_incarnation: int
    members: int
    """Size of the ring of who refuses."""
    limits: Limits


def membership_size(members: int) -> int:
    """The size in bytes of the largest beacon of so many processors, which is larger than their largest join."""
    return HEADER_SIZE + _identity.size + _beacon.size + 8 * members + TRAILER_SIZE


def members_that_fit(size: int) -> int:
    """The most processors whose joins and beacons fit into a datagram."""
    return (size - membership_size(0)) // 8


class MembershipCodec:
    """Makes the datagrams of membership of one cluster, and reads those that :class:`Codec` has opened."""

    __slots__ = ("_codec",)

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode_join(self, join: Join) -> bytes:
        body = (
            _pack_identity(join.identity)
            + _join.pack(join.ring_sequence, len(join.proc_set), len(join.fail_set))
            + _pack_nodes(join.proc_set + join.fail_set)
        )
        return self._codec.seal(Kind.JOIN, body)

    def decode_join(self, datagram: bytes, members_max: int) -> Join:
        """Raises Malformed."""
        (ring_sequence,), proc_set, fail_set = _unpack_sets(_join, datagram, members_max)
        if ring_sequence > SEQUENCE_MAX:
            raise Malformed("sequence")
        return Join(_unpack_identity(datagram), ring_sequence, proc_set, fail_set)

    def encode_beacon(self, beacon: Beacon) -> bytes:
        body = (
            _pack_identity(beacon.identity)
            + _beacon.pack(beacon.ring, len(beacon.members), len(beacon.heard))
            + _pack_nodes(beacon.members + beacon.heard)
        )
        return self._codec.seal(Kind.BEACON, body)

    def decode_beacon(self, datagram: bytes, members_max: int) -> Beacon:
        """Raises Malformed."""
        (ring,), members, heard = _unpack_sets(_beacon, datagram, members_max)
        _check_ring(ring)
        return Beacon(_unpack_identity(datagram), ring, members, heard)

    def encode_leave(self, leave: Leave) -> bytes:
        return self._codec.seal(Kind.LEAVE, _pack_identity(leave.identity) + leave.ring)

    def decode_leave(self, datagram: bytes) -> Leave:
        """Raises Malformed."""
        at = HEADER_SIZE + _identity.size
        if len(datagram) != at + 20 + TRAILER_SIZE:
            raise Malformed("length")
        return Leave(_unpack_identity(datagram), _check_ring(datagram[at : at + 20]))

    def encode_wake(self, ring: bytes) -> bytes:
        return self._codec.seal(Kind.WAKE, ring)

    def decode_wake(self, datagram: bytes) -> bytes:
        """The ring whose token is asked for. Raises Malformed."""
        if len(datagram) != HEADER_SIZE + 20 + TRAILER_SIZE:
            raise Malformed("length")
        return _check_ring(datagram[HEADER_SIZE : HEADER_SIZE + 20])

    def encode_refuse(self, refuse: Refuse) -> bytes:
        body = _refuse.pack(refuse.target, refuse.target_incarnation, refuse.members)
        return self._codec.seal(Kind.REFUSE, body + _pack_identity(Identity(0, 0, refuse.limits)))

    def decode_refuse(self, datagram: bytes) -> Refuse:
        """Raises Malformed."""
        at = HEADER_SIZE + _refuse.size
        if len(datagram) != at + _identity.size + TRAILER_SIZE:
            raise Malformed("length")
        target, incarnation, members = _refuse.unpack_from(datagram, HEADER_SIZE)
        identity = _unpack_identity(datagram, at)
        if identity.incarnation or identity.serial:
            raise Malformed("range")
        return Refuse(target, incarnation, members, identity.limits)

    # COMMIT

    def encode_commit(
        self, destination: int, ring: bytes, hop: int, entries: tuple[Entry, ...], size: int
    ) -> list[bytes]:
        """The datagrams of a commit token, none larger than ``size``."""
        room = size - HEADER_SIZE - _commit.size - TRAILER_SIZE
        datagrams = []
        first = 0
        while first < len(entries):
            packed = b""
            last = first
            while last < len(entries):
                entry = _pack_entry(entries[last])
                if packed and len(packed) + len(entry) > room:
                    break
                packed += entry
                last += 1
            body = _commit.pack(destination, ring, hop, len(entries), first, last - first)
            datagrams.append(self._codec.seal(Kind.COMMIT, body + packed))
            first = last
        return datagrams

    def decode_commit(self, datagram: bytes, members_max: int) -> CommitPart:
        """Raises Malformed."""
        end = len(datagram) - TRAILER_SIZE
        at = HEADER_SIZE + _commit.size
        if end < at:
            raise Malformed("too_short")
        destination, ring, hop, members, first, count = _commit.unpack_from(datagram, HEADER_SIZE)
        if not 1 <= members <= members_max or count < 1 or first + count > members or hop > _HOP_MAX:
            raise Malformed("range")
        _check_ring(ring)
        entries = []
        previous = 0
        for _ in range(count):
            if at + _entry.size > end:
                raise Malformed("length")
            node, incarnation, filled, old_ring, aru, high_delivered, obligations = _entry.unpack_from(datagram, at)
            at += _entry.size
            if obligations > members_max or filled > PATIENCE_MAX or node <= previous:
                raise Malformed("range")
            if at + 4 * obligations > end:
                raise Malformed("length")
            if aru > _PACKET_MAX or high_delivered > _PACKET_MAX:
                raise Malformed("sequence")
            _check_ring(old_ring)
            owed = _unpack_nodes(datagram, at, obligations)
            at += 4 * obligations
            patience = max(1, filled)
            entries.append(Entry(node, incarnation, bool(filled), old_ring, aru, high_delivered, owed, patience))
            previous = node
        if at != end:
            raise Malformed("length")
        return CommitPart(destination, ring, hop, members, first, tuple(entries))


def _check_ring(ring: bytes) -> bytes:
    """The same ring id. Raises Malformed if its sequence is higher than any can be."""
    if int.from_bytes(ring[:8], "big") > SEQUENCE_MAX:
        raise Malformed("sequence")
    return ring


def _pack_nodes(nodes: tuple[int, ...]) -> bytes:
    return struct.pack(f">{len(nodes)}I", *nodes)


def _unpack_nodes(datagram: bytes, at: int, count: int) -> tuple[int, ...]:
    nodes = struct.unpack_from(f">{count}I", datagram, at)
    if nodes and (nodes[0] == 0 or nodes[-1] > NODE_MAX or not rising(nodes)):
        raise Malformed("nodes")
    return nodes


def _unpack_sets(
    head: struct.Struct, datagram: bytes, members_max: int
) -> tuple[tuple[Any, ...], tuple[int, ...], tuple[int, ...]]:
    """What follows the identity in a join or a beacon: a head that ends with two counts, and two sets of so many."""
    at = HEADER_SIZE + _identity.size
    body = at + head.size
    if len(datagram) < body + TRAILER_SIZE:
        raise Malformed("too_short")
    *fields, first, second = head.unpack_from(datagram, at)
    if len(datagram) != body + 4 * (first + second) + TRAILER_SIZE:
        raise Malformed("length")
    if first > members_max or second > members_max:
        raise Malformed("range")
    return tuple(fields), _unpack_nodes(datagram, body, first), _unpack_nodes(datagram, body + 4 * first, second)


def _pack_identity(identity: Identity) -> bytes:
    return _identity.pack(identity.incarnation, identity.serial, *identity.limits)


def _unpack_identity(datagram: bytes, at: int = HEADER_SIZE) -> Identity:
    incarnation, serial, *limits = _identity.unpack_from(datagram, at)
    return Identity(incarnation, serial, Limits(*limits))


def _pack_entry(entry: Entry) -> bytes:
    packed = _entry.pack(
        entry.node,
        entry.incarnation,
        entry.patience if entry.filled else 0,
        entry.old_ring,
        entry.aru,
        entry.high_delivered,
        len(entry.obligations),
    )
    return packed + _pack_nodes(entry.obligations)
