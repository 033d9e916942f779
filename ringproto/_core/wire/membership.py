"""The datagrams of membership: JOIN, COMMIT, BEACON, WAKE, LEAVE, REFUSE, ACKNOWLEDGEMENT, CHALLENGE, RESPONSE, and how
large they are.

They are sent while rings form, merge and end, and when an idle one is to turn again, never for each message. Only
beacons come all the time, and are a good part of what an idle ring costs. The envelope, and what every message goes
through, is ``regular.py``'s; the bodies are specified in
``docs/wire.md`` like all others, and what is said there of untrusted bytes holds here too: a decoder checks everything
that can be checked without knowing the state of the ring, and raises :class:`Malformed`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ringproto._core.wire.regular import (
    FLAG_BUSY,
    FLAG_INFORMED,
    HEADER_SIZE,
    SEQUENCE_MAX,
    TRAILER_SIZE,
    Codec,
    Kind,
    Malformed,
    rising,
)
from ringproto.types import NODE_MAX

_HOP_MAX = 2**31 - 1
"""No honest commit token comes near it."""
PATIENCE_MAX = 64
"""For so many token timeouts a member may ask while it recovers."""
_PACKET_MAX = 2**63 - 1
"""The highest number of a packet, as in DATA."""
_BEACON = int(Kind.BEACON)
_SAME_BEACONS = 64
"""The content of this many different beacons is remembered, to read the next one faster that says the same."""

_identity = struct.Struct(">QQHHIHH")
_speaker = struct.Struct(">QQ")
_limits = struct.Struct(">HHIHH")
_join = struct.Struct(">QHH")
_beacon = struct.Struct(">20sIIHHH")
_beacon_head = struct.Struct(">20sI")
_beacon_rest = struct.Struct(">IHHH")
_commit = struct.Struct(">I20sIHHH")
_entry = struct.Struct(">IQB20sQQH")
_refuse = struct.Struct(">IQH")
_acknowledgement = struct.Struct(">I20sBBQ")
_challenge = struct.Struct(">IQQQ")
_response = struct.Struct(">QQQH")


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
    alive: tuple[int, ...]
    """Whom it knows and has not given up: the ``proc_set`` of the paper without its ``fail_set``. A ring of these has
    at most ``members_max`` members, however many are given up."""
    fail_set: tuple[int, ...]
    """Whom it has given up."""
    informed: bool = False
    """Whether beacons were enough evidence for a ring with others: to the sender, or to the member of its ring that
    made it gather."""


class Beacon(NamedTuple):
    """Here is my ring, and this is whom I hear."""

    identity: Identity
    ring: bytes
    number: int
    """Rises with each beacon of this incarnation, modulo 2**32, so that those are counted that did not come."""
    interval_ms: int
    """The longest time until the next one, in milliseconds."""
    members: tuple[int, ...]
    heard: tuple[int, ...]
    """Of whose last beacons enough came to the sender."""
    put_off: tuple[int, ...] = ()
    """With whom the sender forms no ring without evidence."""
    busy: bool = False
    """Whether members of its ring recover: then it does not say of all whom it hears that it does."""

    @property
    def interval_s(self) -> float:
        """``interval_ms`` in seconds."""
        return self.interval_ms / 1000


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
    copy: int = 0
    """How often this hop was sent before; 255 at most."""


class Refuse(NamedTuple):
    target: int
    target_incarnation: int
    members: int
    """Size of the ring of who refuses."""
    limits: Limits


class Acknowledgement(NamedTuple):
    """The sender has this copy of a token, or of a commit token."""

    destination: int
    ring: bytes
    what: int
    """``Kind.TOKEN`` or ``Kind.COMMIT``."""
    copy: int
    number: int
    """The token's ``token_seq``, or the commit token's hop."""


class Challenge(NamedTuple):
    """Is this incarnation of the target alive? It answers with the nonce."""

    target: int
    incarnation: int
    nonce: int
    challenger: int
    """The sender's own incarnation."""


class Response(NamedTuple):
    """The sender is alive: it has seen the nonce."""

    incarnation: int
    nonce: int
    serial: int
    """The serial of its last datagram with an identity."""
    members: int
    """Size of the sender's ring."""


def membership_size(members: int) -> int:
    """The size in bytes of the largest beacon of so many processors, which is larger than their largest join.

    Its three sets have two ids for each processor, together (:func:`put_off_that_fit`).
    """
    return HEADER_SIZE + _identity.size + _beacon.size + 8 * members + TRAILER_SIZE


def members_that_fit(size: int) -> int:
    """The most processors whose joins and beacons fit into a datagram."""
    return (size - membership_size(0)) // 8


def put_off_that_fit(members: int, heard: int, members_max: int) -> int:
    """The most processors that a beacon with so many members, and so many that are heard, says it puts off."""
    return min(members_max, 2 * members_max - members - heard)


class MembershipCodec:
    """Makes the datagrams of membership of one cluster, and reads those that :class:`Codec` has opened."""

    __slots__ = ("_codec",)

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def decode(self, kind: int, datagram: bytes, members_max: int) -> Any:
        """The body of an opened datagram of this kind, which is neither DATA nor TOKEN. Raises Malformed."""
        if kind in _WITH_MEMBERS:
            return _WITH_MEMBERS[kind](self, datagram, members_max)
        return _OF_ONE_SIZE[kind](self, datagram)

    def encode_join(self, join: Join) -> bytes:
        body = (
            _pack_identity(join.identity)
            + _join.pack(join.ring_sequence, len(join.alive), len(join.fail_set))
            + _pack_nodes(join.alive + join.fail_set)
        )
        return self._codec.seal(Kind.JOIN, body, FLAG_INFORMED if join.informed else 0)

    def decode_join(self, datagram: bytes, members_max: int) -> Join:
        """Raises Malformed."""
        (ring_sequence,), (alive, fail_set) = _unpack_sets(_join, 2, datagram, members_max)
        if ring_sequence > SEQUENCE_MAX:
            raise Malformed("sequence")
        if not set(alive).isdisjoint(fail_set):
            raise Malformed("nodes")
        return Join(_unpack_identity(datagram), ring_sequence, alive, fail_set, bool(datagram[3]))

    def encode_beacon(self, beacon: Beacon) -> bytes:
        body = (
            _pack_identity(beacon.identity)
            + _beacon_head.pack(beacon.ring, beacon.number)
            + _pack_beacon(beacon.interval_ms, beacon.members, beacon.heard, beacon.put_off)
        )
        return self._codec.seal(_BEACON, body, FLAG_BUSY if beacon.busy else 0)

    def decode_beacon(self, datagram: bytes, members_max: int) -> Beacon:
        """Raises Malformed."""
        at = HEADER_SIZE + _identity.size
        if len(datagram) < at + _beacon.size + TRAILER_SIZE:
            raise Malformed("too_short")
        ring, number = _beacon_head.unpack_from(datagram, at)
        interval_ms, members, heard, put_off = _unpack_beacon(
            datagram[at + _beacon_head.size : -TRAILER_SIZE], members_max
        )
        _check_ring(ring)
        if len(put_off) > put_off_that_fit(len(members), len(heard), members_max):
            raise Malformed("range")
        busy = bool(datagram[3])
        return Beacon(_unpack_identity(datagram), ring, number, interval_ms, members, heard, put_off, busy)

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

    def encode_acknowledgement(self, acknowledgement: Acknowledgement) -> bytes:
        return self._codec.seal(Kind.ACKNOWLEDGEMENT, _acknowledgement.pack(*acknowledgement))

    def decode_acknowledgement(self, datagram: bytes) -> Acknowledgement:
        """Raises Malformed."""
        acknowledgement = Acknowledgement(*_unpack_all(_acknowledgement, datagram))
        _check_ring(acknowledgement.ring)
        if acknowledgement.what not in (Kind.TOKEN, Kind.COMMIT):
            raise Malformed("range")
        return acknowledgement

    def encode_challenge(self, challenge: Challenge) -> bytes:
        return self._codec.seal(Kind.CHALLENGE, _challenge.pack(*challenge))

    def decode_challenge(self, datagram: bytes) -> Challenge:
        """Raises Malformed."""
        return Challenge(*_unpack_all(_challenge, datagram))

    def encode_response(self, response: Response) -> bytes:
        return self._codec.seal(Kind.RESPONSE, _response.pack(*response))

    def decode_response(self, datagram: bytes) -> Response:
        """Raises Malformed."""
        return Response(*_unpack_all(_response, datagram))

    # COMMIT

    def encode_commit(
        self, destination: int, ring: bytes, hop: int, entries: tuple[Entry, ...], size: int, copy: int = 0
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
            datagrams.append(self._codec.seal(Kind.COMMIT, body + packed, copy))
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
        return CommitPart(destination, ring, hop, members, first, tuple(entries), datagram[3])


_WITH_MEMBERS: dict[int, Callable[[MembershipCodec, bytes, int], Any]] = {
    Kind.JOIN: MembershipCodec.decode_join,
    Kind.COMMIT: MembershipCodec.decode_commit,
    Kind.BEACON: MembershipCodec.decode_beacon,
}
_OF_ONE_SIZE: dict[int, Callable[[MembershipCodec, bytes], Any]] = {
    Kind.WAKE: MembershipCodec.decode_wake,
    Kind.LEAVE: MembershipCodec.decode_leave,
    Kind.REFUSE: MembershipCodec.decode_refuse,
    Kind.ACKNOWLEDGEMENT: MembershipCodec.decode_acknowledgement,
    Kind.CHALLENGE: MembershipCodec.decode_challenge,
    Kind.RESPONSE: MembershipCodec.decode_response,
}


def _unpack_all(body: struct.Struct, datagram: bytes) -> tuple[Any, ...]:
    """The fields of a datagram of one length. Raises Malformed."""
    if len(datagram) != HEADER_SIZE + body.size + TRAILER_SIZE:
        raise Malformed("length")
    return body.unpack_from(datagram, HEADER_SIZE)


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
    head: struct.Struct, sets: int, datagram: bytes, members_max: int
) -> tuple[tuple[Any, ...], list[tuple[int, ...]]]:
    """What follows the identity in a join or a beacon: a head that ends with so many counts, and sets of so many."""
    at = HEADER_SIZE + _identity.size
    body = at + head.size
    if len(datagram) < body + TRAILER_SIZE:
        raise Malformed("too_short")
    fields = head.unpack_from(datagram, at)
    return fields[:-sets], _unpack_counted(fields[-sets:], datagram, body, len(datagram) - TRAILER_SIZE, members_max)


def _unpack_counted(counts: tuple[int, ...], data: bytes, at: int, end: int, members_max: int) -> list[tuple[int, ...]]:
    """Sets of so many nodes each, which fill the bytes up to ``end``."""
    if end != at + 4 * sum(counts):
        raise Malformed("length")
    if max(counts) > members_max:
        raise Malformed("range")
    nodes = []
    for count in counts:
        nodes.append(_unpack_nodes(data, at, count))
        at += 4 * count
    return nodes


@functools.lru_cache(_SAME_BEACONS)
def _pack_beacon(interval_ms: int, members: tuple[int, ...], heard: tuple[int, ...], put_off: tuple[int, ...]) -> bytes:
    """What :func:`_unpack_beacon` reads."""
    return _beacon_rest.pack(interval_ms, len(members), len(heard), len(put_off)) + _pack_nodes(
        members + heard + put_off
    )


@functools.lru_cache(_SAME_BEACONS)
def _unpack_beacon(rest: bytes, members_max: int) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """What follows the number in a beacon: the interval and three sets.

    Most beacons say the same as the one before, so the last ones are remembered.
    """
    interval_ms, *counts = _beacon_rest.unpack_from(rest)
    members, heard, put_off = _unpack_counted(tuple(counts), rest, _beacon_rest.size, len(rest), members_max)
    return interval_ms, members, heard, put_off


def _pack_identity(identity: Identity) -> bytes:
    return _identity.pack(identity.incarnation, identity.serial, *identity.limits)


def _unpack_identity(datagram: bytes, at: int = HEADER_SIZE) -> Identity:
    incarnation, serial = _speaker.unpack_from(datagram, at)
    return Identity(incarnation, serial, _unpack_limits(datagram[at + _speaker.size : at + _identity.size]))


@functools.lru_cache(_SAME_BEACONS)
def _unpack_limits(packed: bytes) -> Limits:
    """The same object for the same bytes: all processors of a ring say the same."""
    return Limits(*_limits.unpack(packed))


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
