"""Fuzzing target: every decoder of ``ringproto/_core/wire/``, reached as ``processor.py`` reaches it.

    RINGPROTO_INTERPRETED=1 PYTHONPATH=. python tests/fuzz/fuzz_parser.py [libFuzzer's options] [folders]

The first byte of the input says how the datagram is made of the rest. With its highest bit the rest is the datagram, as
it is; this is the way to the envelope's checks. Otherwise its three lowest bits are the type, two more the flags, and
the rest is the sender and the body; header and trailer are made right, so that every input reaches a decoder. The next
bit chooses the limits that the decoder is given.

What must hold: nothing but ``Malformed`` is raised, with a reason that docs/wire.md names; what decodes is within the
limits that it was decoded with; and it encodes to the bytes that it came from, so that no two datagrams say the same.
"""

from __future__ import annotations

import struct
import sys
from zlib import crc32

from ringproto._core.packets.reassembly import Reassembler, unblocked_ring
from ringproto._core.wire.membership import CommitPart, MembershipCodec
from ringproto._core.wire.regular import (
    CHUNK_CONTROL,
    CHUNK_PRIORITY,
    FLAG_RECOVERED,
    VERSION,
    Codec,
    Kind,
    Malformed,
    Packet,
    check_chunks,
    old_packet,
)
from ringproto.types import Priority

CLUSTER = 0x0123456789ABCDEF
REASONS = frozenset(
    (
        *("too_short", "version", "other_cluster", "suite", "checksum", "type", "flags", "sender"),
        *("length", "range", "sequence", "nodes", "chunk"),
    )
)
"""Why a datagram is malformed, as docs/wire.md lists it."""
LIMITS = ((64, 128), (3, 2))
"""(members_max, requests_max) to choose from."""
MESSAGE_SIZE_MAX = 1000
PRIORITIES = frozenset(map(int, Priority))

RAW = 0x80
COMMIT_MEMBERS_AT = 44

_reader = Codec(CLUSTER, 1)
_trailer = struct.Struct(">I")


def seal(content: bytes) -> bytes:
    """A datagram of these bytes with the trailer that belongs to them."""
    return content + _trailer.pack(crc32(content))


def datagram_of(data: bytes) -> bytes:
    """The datagram that an input stands for."""
    how = data[0]
    if how & RAW:
        return data[1:]
    head = bytes((VERSION, (how & 7) + 1, 0, how >> 3 & 3)) + CLUSTER.to_bytes(8, "big")
    return seal(head + data[1:])


def input_of(datagram: bytes) -> bytes:
    """The shortest input that stands for a datagram of this cluster (``datagram_of`` turned round)."""
    if datagram_of(bytes((datagram[1] - 1 | datagram[3] << 3,)) + datagram[12:-4]) != datagram:
        return bytes((RAW,)) + datagram
    return bytes((datagram[1] - 1 | datagram[3] << 3,)) + datagram[12:-4]


def check(data: bytes) -> None:
    """The target."""
    if not data:
        return
    datagram = datagram_of(data)
    try:
        kind, sender = _reader.open(datagram)
        assert 1 <= kind <= 11 and 1 <= sender < 2**32, "the envelope was opened and is not right"
        again = decode_and_encode(kind, Codec(CLUSTER, sender), datagram, *LIMITS[data[0] >> 5 & 1])
    except Malformed as error:
        assert error.args[0] in REASONS, f"{error.args[0]} is no reason that is documented"
        return
    assert again == datagram, f"{datagram.hex()} encodes to {again.hex()}"


def decode_and_encode(kind: int, codec: Codec, datagram: bytes, members_max: int, requests_max: int) -> bytes:
    """What the value in a datagram encodes to. ``codec`` is that of its sender. Raises Malformed."""
    if kind == Kind.DATA:
        return data_again(codec, codec.decode_data(datagram))
    if kind == Kind.TOKEN:
        token = codec.decode_token(datagram, requests_max)
        assert len(token.requests) <= requests_max and token.aru <= token.seq < 2**63
        return codec.encode_token(token)
    membership = MembershipCodec(codec)
    if kind == Kind.JOIN:
        join = membership.decode_join(datagram, members_max)
        assert_nodes(join.alive, members_max)
        assert_nodes(join.fail_set, members_max)
        return membership.encode_join(join)
    if kind == Kind.COMMIT:
        return commit_again(membership, membership.decode_commit(datagram, members_max), members_max)
    if kind == Kind.BEACON:
        beacon = membership.decode_beacon(datagram, members_max)
        assert_nodes(beacon.members, members_max)
        assert_nodes(beacon.heard, members_max)
        assert_nodes(beacon.put_off, members_max)
        return membership.encode_beacon(beacon)
    if kind == Kind.WAKE:
        return membership.encode_wake(membership.decode_wake(datagram))
    if kind == Kind.LEAVE:
        return membership.encode_leave(membership.decode_leave(datagram))
    if kind == Kind.ACKNOWLEDGEMENT:
        return membership.encode_acknowledgement(membership.decode_acknowledgement(datagram))
    if kind == Kind.CHALLENGE:
        return membership.encode_challenge(membership.decode_challenge(datagram))
    if kind == Kind.RESPONSE:
        return membership.encode_response(membership.decode_response(datagram))
    return membership.encode_refuse(membership.decode_refuse(datagram))


def assert_nodes(nodes: tuple[int, ...], most: int) -> None:
    """A set of nodes as every datagram must have it."""
    assert len(nodes) <= most and list(nodes) == sorted(set(nodes)) and all(0 < node < 2**32 for node in nodes)


def data_again(codec: Codec, packet: Packet) -> bytes:
    """A packet encoded again; what is in it is taken apart on the way."""
    datagram = packet.datagram
    reassembler = Reassembler(MESSAGE_SIZE_MAX)
    reassembler.begin(packet)
    ended = []
    while reassembler.next():
        ended.append((reassembler.flags, reassembler.payload))
    assert len(ended) == check_chunks(datagram, packet.body, len(datagram) - 4), "messages were lost in the packet"
    for flags, payload in ended:
        assert flags & CHUNK_PRIORITY in PRIORITIES, "a message has no priority that there is"
        if flags & CHUNK_CONTROL:
            assert payload is not None
            unblocked_ring(payload)
        else:
            assert payload is None or len(payload) <= MESSAGE_SIZE_MAX
    if datagram[3] & FLAG_RECOVERED:
        old = old_packet(packet)
        assert old.chunks() == packet.chunks() and not old.old_ring
        return codec.encode_recovered(packet.ring, packet.seq, old).datagram
    return codec.encode_data(packet.ring, packet.seq, packet.message_seq, bool(packet.safe), packet.chunks()).datagram


def commit_again(membership: MembershipCodec, part: CommitPart, members_max: int) -> bytes:
    """A part of a commit token: its entries as a whole token, and then the numbers that make it a part."""
    assert_nodes(tuple(entry.node for entry in part.entries), members_max)
    for entry in part.entries:
        assert_nodes(entry.obligations, members_max)
    assert part.first + len(part.entries) <= part.members <= members_max
    (whole,) = membership.encode_commit(part.destination, part.ring, part.hop, part.entries, 1 << 20, part.copy)
    numbers = struct.pack(">HH", part.members, part.first)
    return seal(whole[:COMMIT_MEMBERS_AT] + numbers + whole[COMMIT_MEMBERS_AT + 4 : -4])


if __name__ == "__main__":
    from engine import fuzz

    fuzz(check, sys.argv[1:])
