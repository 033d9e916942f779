"""What every message goes through, the envelope, DATA and TOKEN: the layout, how it is made, and how bytes that nobody
vouches for are read. The bodies of the other datagrams are made and read in ``membership.py``.

All numbers are big endian. A datagram is a header, a body and a trailer::

    0   u8   version              1
    1   u8   type                 one of Kind
    2   u8   suite                what the trailer is: 0, a CRC-32 (others are kept for authenticated encryption)
    3   u8   flags                of the type; unused bits are 0; of TOKEN and COMMIT a copy's number
    4   u64  cluster              hash of the cluster's name
    12  u32  sender               node id; of DATA the processor that originated it, whoever sends it again
    16       body
    -4  u32  CRC-32 of all that precedes it

``docs/wire.md`` specifies the bodies byte by byte and ``tests/core/test_wire.py`` holds golden bytes of each.

A decoder checks everything that can be checked without knowing the state of the ring, so that what it returns is well
formed in every count and length. It raises :class:`Malformed`, which only the face of the core catches, to count it.
"""

from __future__ import annotations

import enum
import struct
from typing import Any

from ringproto._core.wire.checksum import crc32, sealed
from ringproto.types import RingId

VERSION = 1
SUITE_CRC32 = 0
HEADER_SIZE = 16
TRAILER_SIZE = 4

DATA_SIZE = HEADER_SIZE + 36
RECOVERED_SIZE = DATA_SIZE + 28
DATA_OVERHEAD = RECOVERED_SIZE + TRAILER_SIZE
"""What a datagram may not use for chunks. A packet keeps the room that it would need to be encapsulated in a new ring's
packet during recovery, so that an encapsulated packet is never larger than a datagram."""

FLAG_SAFE = 1
FLAG_RECOVERED = 2
FLAG_INFORMED = 1
"""Of a JOIN."""
FLAG_BUSY = 1
"""Of a BEACON."""

CHUNK_SIZE = 3
CHUNK_PRIORITY = 3
CHUNK_SAFE = 4
CHUNK_FIRST = 8
CHUNK_LAST = 16
CHUNK_CONTROL = 32
CONTROL_UNBLOCK = 1
CONTROL_SIZE = 21

# The same once more as numbers of C (regular.pxd): a module does not show those, and what is done for every datagram
# must not make objects.
_VERSION = VERSION
_SUITE = SUITE_CRC32
_TRAILER = TRAILER_SIZE
_ENVELOPE = HEADER_SIZE + TRAILER_SIZE
_HEADER = HEADER_SIZE
_DATA = DATA_SIZE
_RECOVERED = RECOVERED_SIZE
_IS_SAFE = FLAG_SAFE
_IS_RECOVERED = FLAG_RECOVERED

_COUNT_MAX = 2**63 - 1
"""No honest ring comes near it; what is added to a number from the network stays within 64 bits."""
SEQUENCE_MAX = 2**62
"""The highest ring sequence that is well formed."""
_SEQUENCE_MAX = SEQUENCE_MAX

_header = struct.Struct(">BBBBQI")
_ring = struct.Struct(">QIQ")
_data = struct.Struct(">20sQQ")
_packet = struct.Struct(">16s20sQQ")
_recovered = struct.Struct(">20sQ")
_chunk = struct.Struct(">BH")
_control = struct.Struct(">B20s")
_token = struct.Struct(">I20sQQQQIIIBBH")

_TOKEN = HEADER_SIZE + _token.size


class Kind(enum.IntEnum):
    """The types of datagrams."""

    DATA = 1
    TOKEN = 2
    JOIN = 3
    COMMIT = 4
    BEACON = 5
    WAKE = 6
    LEAVE = 7
    REFUSE = 8
    ACKNOWLEDGEMENT = 9
    CHALLENGE = 10
    RESPONSE = 11


DATA, TOKEN, JOIN, COMMIT, BEACON, WAKE, LEAVE, REFUSE, ACKNOWLEDGEMENT, CHALLENGE, RESPONSE = (
    int(kind) for kind in Kind
)
"""The same as plain numbers: a member of an enum is looked up too slowly for what is done with every datagram."""


class Malformed(Exception):
    """Bytes from the network that are not a datagram of ours; the argument is the reason to count."""


class Phase(enum.IntEnum):
    """How far a ring is, told by its token (departure 3 in docs/protocol.md)."""

    EXCHANGE = 0
    """Messages of the old rings are sent again on the new one."""
    RECEIVED = 1
    """All were sent; each member says whether it has them."""
    INSTALLED = 2
    """All have them: who sees this installs the configuration."""


class Packet:
    """A regular message of Totem: one place in the packet order of a ring, with chunks of application messages.

    A packet of the new ring that carries one of an old ring (``old_ring`` is not empty) is taken apart by
    :func:`old_packet`; its chunks belong to the old ring.
    """

    __slots__ = ("body", "datagram", "ended", "message_seq", "old_ring", "old_seq", "ring", "safe", "sender", "seq")

    def __init__(
        self,
        datagram: bytes,
        sender: int,
        ring: bytes,
        seq: int,
        message_seq: int,
        safe: bool,
        old_ring: bytes,
        old_seq: int,
        body: int,
    ) -> None:
        self.datagram = datagram
        self.sender = sender
        self.ring = ring
        self.seq = seq
        self.message_seq = message_seq
        self.safe = safe
        self.old_ring = old_ring
        self.old_seq = old_seq
        self.body = body
        self.ended: tuple[list[int], list[bytes]] | None = None
        """Flags and payloads of the messages that end in it, where that is known: at the processor that filled it."""

    def chunks(self) -> bytes:
        """The bytes of its chunks."""
        return self.datagram[self.body : -TRAILER_SIZE]


TOKEN_FIELDS = (
    "destination",
    "ring",
    "token_seq",
    "seq",
    "message_seq",
    "aru",
    "aru_id",
    "fcc",
    "backlog",
    "phase",
    "incomplete",
    "requests",
    "acknowledge",
    "copy",
)


class Token:
    """Totem's regular token. Nobody changes one that is made.

    Args:
        destination: node id of who is to have it.
        ring: the ring on which it goes round.
        token_seq: rises with every hop.
        seq: the highest packet number of the ring.
        message_seq: the highest message number of the ring.
        aru: all received up to: at most ``seq``.
        aru_id: who lowered the aru; 0: nobody.
        fcc: packets sent in the last rotation, and packets that slow applications hold up.
        backlog: packets that wait to be sent, over all members.
        phase: one of :class:`Phase`.
        incomplete: somebody was not ready for the next phase in this rotation.
        requests: the retransmission requests (rtr), rising.
        acknowledge: for so many rotations more, 127 at most, each hop of it is acknowledged.
        copy: 0 as it was passed on; it rises each time that this hop is sent again, up to 255.
    """

    __slots__ = TOKEN_FIELDS

    def __init__(
        self,
        destination: int,
        ring: bytes,
        token_seq: int,
        seq: int,
        message_seq: int,
        aru: int,
        aru_id: int,
        fcc: int,
        backlog: int,
        phase: int,
        incomplete: bool,
        requests: tuple[int, ...],
        acknowledge: int = 0,
        copy: int = 0,
    ) -> None:
        self.destination = destination
        self.ring = ring
        self.token_seq = token_seq
        self.seq = seq
        self.message_seq = message_seq
        self.aru = aru
        self.aru_id = aru_id
        self.fcc = fcc
        self.backlog = backlog
        self.phase = phase
        self.incomplete = incomplete
        self.requests = requests
        self.acknowledge = acknowledge
        self.copy = copy

    def _replace(self, **changes: Any) -> Token:
        """The same token with some fields changed, as of a named tuple."""
        return Token(**{name: changes.get(name, getattr(self, name)) for name in TOKEN_FIELDS})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in TOKEN_FIELDS)

    def __repr__(self) -> str:
        return f"Token({', '.join([f'{name}={getattr(self, name)!r}' for name in TOKEN_FIELDS])})"


def ring_bytes(ring_id: RingId) -> bytes:
    """The 20 bytes of a ring id on the wire."""
    return _ring.pack(ring_id.sequence, ring_id.representative, ring_id.nonce)


def ring_from_bytes(data: bytes) -> RingId:
    return RingId(*_ring.unpack(data))


def read_u32(data: bytes, at: int) -> int:
    """Four bytes as a number; they must be there."""
    value = 0
    for place in range(at, at + 4):
        value = value << 8 | data[place]
    return value


def read_u64(data: bytes, at: int) -> int:
    """Eight bytes as a number; they must be there."""
    value = 0
    for place in range(at, at + 8):
        value = value << 8 | data[place]
    return value


class Codec:
    """Makes and opens the datagrams of one cluster."""

    __slots__ = ("_cluster", "_data_head", "_node", "_safe_head", "_token_head")

    def __init__(self, cluster: int, node: int) -> None:
        self._cluster = cluster
        self._node = node
        self._data_head = self._head(DATA)
        self._safe_head = self._head(DATA, FLAG_SAFE)
        self._token_head = self._head(TOKEN)

    def _head(self, kind: int, flags: int = 0) -> bytes:
        return _header.pack(VERSION, kind, SUITE_CRC32, flags, self._cluster, self._node)

    def seal(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        """The datagram of this type around a body that another module made."""
        return sealed(self._head(kind, flags), [body])

    def open(self, datagram: bytes) -> tuple[int, int]:
        """The kind and the sender of a datagram whose envelope is right; cheapest checks first.

        Raises:
            Malformed: it is not a datagram of this version and cluster, or it was damaged on the way.
        """
        data = datagram  # compiled it is a pointer: each read below is within ``size``
        size = len(datagram)
        if size < _ENVELOPE:
            raise Malformed("too_short")
        if data[0] != _VERSION:
            raise Malformed("version")
        if read_u64(data, 4) != self._cluster:
            raise Malformed("other_cluster")
        if data[2] != _SUITE:
            raise Malformed("suite")
        # Going on over the same four bytes from two checksums gives one result only if they are one: so the datagram is
        # checked as it is, without a view or a copy of what precedes the trailer.
        if crc32(data[size - _TRAILER : size], read_u32(data, size - _TRAILER)) != crc32(datagram):
            raise Malformed("checksum")
        kind = data[1]
        flags = data[3]
        if not 1 <= kind <= 11:
            raise Malformed("type")
        if flags and (kind > 5 or (kind == 1 and flags > 3) or ((kind == 3 or kind == 5) and flags > 1)):
            raise Malformed("flags")
        sender = read_u32(data, 12)
        if sender == 0:
            raise Malformed("sender")
        return kind, sender

    # DATA

    def encode_data(self, ring: bytes, seq: int, message_seq: int, safe: bool, chunks: bytes) -> Packet:
        """A new packet of this processor."""
        return self.encode_chunks(ring, seq, message_seq, safe, [chunks])

    def encode_chunks(
        self, ring: bytes, seq: int, message_seq: int, safe: bool, chunks: list[bytes | memoryview]
    ) -> Packet:
        """As :meth:`encode_data`, of the pieces of the chunks."""
        head = _packet.pack(self._safe_head if safe else self._data_head, ring, seq, message_seq)
        return Packet(sealed(head, chunks), self._node, ring, seq, message_seq, safe, b"", 0, DATA_SIZE)

    def encode_recovered(self, ring: bytes, seq: int, old: Packet) -> Packet:
        """A packet of the old ring, whoever originated it, in a packet of the new one."""
        flags = FLAG_RECOVERED | (FLAG_SAFE if old.safe else 0)
        head = _header.pack(VERSION, Kind.DATA, SUITE_CRC32, flags, self._cluster, old.sender)
        body = _data.pack(ring, seq, old.message_seq) + _recovered.pack(old.ring, old.seq) + old.chunks()
        return Packet(
            sealed(head, [body]), old.sender, ring, seq, old.message_seq, old.safe, old.ring, old.seq, RECOVERED_SIZE
        )

    def decode_data(self, datagram: bytes) -> Packet:
        """Raises Malformed."""
        data = datagram  # compiled it is a pointer: each read below is within ``size``
        size = len(datagram)
        if size < _DATA + _TRAILER:
            raise Malformed("too_short")
        flags = datagram[3]
        body = _DATA
        old_ring = b""
        old_seq = 0
        if flags & _IS_RECOVERED:
            if size < _RECOVERED + _TRAILER:
                raise Malformed("too_short")
            old_ring = data[_DATA : _DATA + 20]
            old_seq = read_u64(data, _DATA + 20)
            body = _RECOVERED
            if not 0 < old_seq <= _COUNT_MAX or read_u64(data, _DATA) > _SEQUENCE_MAX:
                raise Malformed("sequence")
        seq = read_u64(data, _HEADER + 20)
        message_seq = read_u64(data, _HEADER + 28)
        if not 0 < seq <= _COUNT_MAX or message_seq > _COUNT_MAX or read_u64(data, _HEADER) > _SEQUENCE_MAX:
            raise Malformed("sequence")
        check_chunks(datagram, body, size - _TRAILER)
        packet = Packet.__new__(Packet)  # as Packet(...), without making objects of the numbers
        packet.datagram = datagram
        packet.sender = read_u32(data, 12)
        packet.ring = data[_HEADER : _HEADER + 20]
        packet.seq = seq
        packet.message_seq = message_seq
        packet.safe = flags & _IS_SAFE != 0
        packet.old_ring = old_ring
        packet.old_seq = old_seq
        packet.body = body
        packet.ended = None
        return packet

    # TOKEN

    def encode_token(self, token: Token) -> bytes:
        requests = token.requests
        body = _token.pack(
            token.destination,
            token.ring,
            token.token_seq,
            token.seq,
            token.message_seq,
            token.aru,
            token.aru_id,
            token.fcc,
            token.backlog,
            token.phase,
            token.acknowledge << 1 | token.incomplete,
            len(requests),
        )
        if requests:
            body += struct.pack(f">{len(requests)}Q", *requests)
        return sealed(self._head(TOKEN, token.copy) if token.copy else self._token_head, [body])

    def decode_token(self, datagram: bytes, requests_max: int) -> Token:
        """Raises Malformed."""
        size = len(datagram)
        if size < _TOKEN + _TRAILER:
            raise Malformed("too_short")
        data = datagram  # compiled it is a pointer: each read below is within ``size``
        token = Token.__new__(Token)  # as Token(...), without making objects of the numbers
        token.destination = read_u32(data, _HEADER)
        token.ring = data[_HEADER + 4 : _HEADER + 24]
        token.token_seq = token_seq = read_u64(data, _HEADER + 24)
        token.seq = seq = read_u64(data, _HEADER + 32)
        token.message_seq = message_seq = read_u64(data, _HEADER + 40)
        token.aru = aru = read_u64(data, _HEADER + 48)
        token.aru_id = read_u32(data, _HEADER + 56)
        token.fcc = read_u32(data, _HEADER + 60)
        token.backlog = read_u32(data, _HEADER + 64)
        token.phase = phase = data[_HEADER + 68]
        token.incomplete = data[_HEADER + 69] & 1 != 0
        token.acknowledge = data[_HEADER + 69] >> 1
        token.copy = data[3]
        count = data[_HEADER + 70] << 8 | data[_HEADER + 71]
        token.requests = ()
        if size != _TOKEN + 8 * count + _TRAILER:
            raise Malformed("length")
        if count > requests_max or phase > 2:
            raise Malformed("range")
        if token_seq > _COUNT_MAX or seq > _COUNT_MAX or message_seq > _COUNT_MAX:
            raise Malformed("range")
        if aru > seq or read_u64(data, _HEADER + 4) > _SEQUENCE_MAX:
            raise Malformed("sequence")
        if count:
            requests = struct.unpack_from(f">{count}Q", datagram, _TOKEN)
            if not rising(requests) or not 0 < requests[0] <= requests[-1] <= seq:
                raise Malformed("sequence")
            token.requests = requests
        return token


def old_packet(packet: Packet) -> Packet:
    """The packet of the old ring that ``packet`` of the new one carries. It shares the bytes."""
    return Packet(
        packet.datagram,
        packet.sender,
        packet.old_ring,
        packet.old_seq,
        packet.message_seq,
        packet.safe,
        b"",
        0,
        packet.body,
    )


def check_chunks(datagram: bytes, at: int, end: int) -> int:
    """How many messages end in these chunks. Raises Malformed unless the chunks fill the room exactly."""
    ended = 0
    head = CHUNK_SIZE
    last = CHUNK_LAST
    whole = CHUNK_FIRST | CHUNK_LAST
    control = CHUNK_CONTROL
    priority = CHUNK_PRIORITY
    data = datagram  # compiled it is a pointer: each read below is within ``end``
    if at == end:
        raise Malformed("chunk")
    while at < end:
        if at + head > end:
            raise Malformed("chunk")
        flags = data[at]
        size = data[at + 1] << 8 | data[at + 2]
        at += head + size
        if flags > 63 or flags & priority == priority:
            raise Malformed("chunk")
        if flags & control:
            if flags != whole | control or size != CONTROL_SIZE:
                raise Malformed("chunk")
            if at <= end and data[at - size] != CONTROL_UNBLOCK:
                raise Malformed("chunk")
        elif size == 0 and flags & whole != whole:
            raise Malformed("chunk")
        if flags & last:
            ended += 1
    if at != end:
        raise Malformed("chunk")
    return ended


def chunk_head(flags: int, size: int) -> bytes:
    return _chunk.pack(flags, size)


def unblock_chunk(ring: bytes) -> bytes:
    """The control chunk by which a processor unblocks in the configuration of this ring."""
    return _chunk.pack(CHUNK_CONTROL | CHUNK_FIRST | CHUNK_LAST, CONTROL_SIZE) + _control.pack(CONTROL_UNBLOCK, ring)


def rising(numbers: tuple[int, ...]) -> bool:
    """Whether each is larger than the one before it."""
    return list(numbers) == sorted(set(numbers))
