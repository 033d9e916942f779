"""Every format: golden bytes and round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import (
    BEACON,
    ENTRIES,
    GOLDEN,
    HOP,
    IDENTITY,
    JOIN,
    LEAVE,
    LIMITS,
    NEW,
    NODE,
    OLD,
    OLD_ID,
    REFUSE,
    TOKEN,
    UNBLOCK_CHUNKS,
    WHOLE,
    codec,
    decode,
    encoded,
    fields,
    membership_codec,
    overwrite,
)

from ringproto._core.wire.membership import (
    Acknowledgement,
    Beacon,
    Challenge,
    CommitPart,
    Entry,
    Identity,
    Join,
    Leave,
    Limits,
    Refuse,
    Response,
    put_off_that_fit,
)
from ringproto._core.wire.regular import (
    CHUNK_FIRST,
    CHUNK_LAST,
    CHUNK_SAFE,
    CHUNK_SIZE,
    DATA_OVERHEAD,
    DATA_SIZE,
    HEADER_SIZE,
    RECOVERED_SIZE,
    SEQUENCE_MAX,
    TRAILER_SIZE,
    Kind,
    Malformed,
    Packet,
    Phase,
    Token,
    check_chunks,
    chunk_head,
    old_packet,
    ring_bytes,
    ring_from_bytes,
    unblock_chunk,
)
from ringproto.config import Config
from ringproto.types import NODE_MAX, RingId

NAMES = sorted(GOLDEN)
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
COUNTED = st.integers(0, 2**63 - 1)
"""Numbers that are counted on from."""
NODES = st.lists(st.integers(1, NODE_MAX), max_size=64, unique=True).map(lambda nodes: tuple(sorted(nodes)))
SEQUENCES = st.integers(0, SEQUENCE_MAX)
RING = st.builds(RingId, SEQUENCES, U32, U64).map(ring_bytes)
LIMITS_ST = st.builds(Limits, U16, U16, U32, U16, U16)
IDENTITIES = st.builds(Identity, U64, U64, LIMITS_ST)


def reason(datagram: bytes, *, members_max: int = 64, requests_max: int = 128) -> str:
    """Why this is dropped; a failure if it is not."""
    with pytest.raises(Malformed) as caught:
        decode(datagram, members_max=members_max, requests_max=requests_max)
    return str(caught.value.args[0])


# Golden bytes


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_are_what_is_sent(name: str) -> None:
    assert encoded()[name].hex() == GOLDEN[name].hex()


def test_golden_data_is_read_as_it_was_meant() -> None:
    packet = decode(GOLDEN["data"])
    assert isinstance(packet, Packet)
    assert fields(packet) == (GOLDEN["data"], NODE, OLD, 0x1122, 0x3344, True, b"", 0, DATA_SIZE)
    assert packet.chunks() == bytes.fromhex("1d0003616263 0a00027879")


def test_golden_recovered_data_is_read_as_it_was_meant() -> None:
    packet = decode(GOLDEN["recovered"])
    assert isinstance(packet, Packet)
    assert fields(packet) == (GOLDEN["recovered"], NODE, NEW, 4, 0x3344, True, OLD, 0x1122, RECOVERED_SIZE)


def test_golden_membership_and_token_are_read_as_they_were_meant() -> None:
    assert decode(GOLDEN["token"]) == TOKEN
    assert decode(GOLDEN["join"]) == JOIN
    assert decode(GOLDEN["commit"]) == CommitPart(8, NEW, HOP, 2, 0, ENTRIES)
    assert decode(GOLDEN["commit part 1"]) == CommitPart(8, NEW, HOP, 2, 0, ENTRIES[:1])
    assert decode(GOLDEN["commit part 2"]) == CommitPart(8, NEW, HOP, 2, 1, ENTRIES[1:])
    assert decode(GOLDEN["beacon"]) == BEACON
    assert decode(GOLDEN["leave"]) == LEAVE
    assert decode(GOLDEN["wake"]) == OLD
    assert decode(GOLDEN["refuse"]) == REFUSE


@pytest.mark.parametrize("node", [1, 2**8, 2**16 + 1, 2**24 + 1, NODE_MAX])
def test_every_node_id_can_send(node: int) -> None:
    mine = codec(node=node)
    packet = mine.encode_data(OLD, 1, 0, False, UNBLOCK_CHUNKS)
    assert mine.open(packet.datagram) == (Kind.DATA, node)
    received = decode(packet.datagram)
    assert isinstance(received, Packet)
    assert received.sender == packet.sender == node
    assert mine.open(membership_codec(node).encode_wake(OLD)) == (Kind.WAKE, node)


def test_every_type_has_golden_bytes() -> None:
    assert {datagram[1] for datagram in GOLDEN.values()} == {int(kind) for kind in Kind}


def test_cluster_hash_is_the_one_that_the_document_says() -> None:
    assert Config(cluster="ringproto").cluster_hash == 0x3E295FD7D78A2163
    assert Config(cluster="other").cluster_hash != Config().cluster_hash


# Round trips


@given(sequence=U64, representative=U32, nonce=U64)
def test_ring_id_round_trip(sequence: int, representative: int, nonce: int) -> None:
    ring_id = RingId(sequence, representative, nonce)
    name = ring_bytes(ring_id)
    assert len(name) == 20
    assert ring_from_bytes(name) == ring_id


@st.composite
def chunk_lists(draw: st.DrawFn) -> tuple[bytes, int]:
    """Chunks as they stand in a packet, and how many messages end in them."""
    packed = b""
    ended = 0
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.integers(0, 5)) == 0:
            packed += unblock_chunk(draw(RING))
            ended += 1
            continue
        ends = draw(st.sampled_from((0, CHUNK_FIRST, CHUNK_LAST, WHOLE)))
        flags = draw(st.sampled_from((0, 1, 2))) | draw(st.sampled_from((0, CHUNK_SAFE))) | ends
        payload = draw(st.binary(min_size=0 if ends == WHOLE else 1, max_size=40))
        packed += chunk_head(flags, len(payload)) + payload
        ended += bool(ends & CHUNK_LAST)
    return packed, ended


@given(chunks=chunk_lists(), seq=st.integers(1, 2**63 - 1), message_seq=COUNTED, safe=st.booleans(), ring=RING)
def test_data_round_trip(chunks: tuple[bytes, int], seq: int, message_seq: int, safe: bool, ring: bytes) -> None:
    sent = codec().encode_data(ring, seq, message_seq, safe, chunks[0])
    received = decode(sent.datagram)
    assert isinstance(received, Packet)
    assert fields(received) == fields(sent)
    assert (received.seq, received.message_seq, bool(received.safe)) == (seq, message_seq, safe)
    assert received.ring == ring
    assert received.chunks() == chunks[0]
    assert check_chunks(sent.datagram, sent.body, len(sent.datagram) - TRAILER_SIZE) == chunks[1]


@given(chunks=chunk_lists(), seq=st.integers(1, 2**63 - 1), old_seq=st.integers(1, 2**63 - 1), safe=st.booleans())
def test_old_packet_goes_through_recovery_unchanged(
    chunks: tuple[bytes, int], seq: int, old_seq: int, safe: bool
) -> None:
    old = codec(node=3).encode_data(OLD, old_seq, 77, safe, chunks[0])
    carried = codec(node=9).encode_recovered(NEW, seq, old)
    received = decode(carried.datagram)
    assert isinstance(received, Packet)
    assert fields(received) == fields(carried)
    assert (received.sender, received.ring, received.seq) == (3, NEW, seq)
    taken_out = old_packet(received)
    assert (taken_out.sender, taken_out.ring, taken_out.seq) == (3, OLD, old_seq)
    assert (taken_out.message_seq, bool(taken_out.safe), taken_out.old_ring) == (77, safe, b"")
    assert taken_out.chunks() == old.chunks()


def test_packet_of_an_old_ring_can_be_carried_twice_when_the_first_recovery_failed() -> None:
    old = codec(node=3).encode_data(OLD, 5, 6, True, UNBLOCK_CHUNKS)
    once = old_packet(codec(node=9).encode_recovered(NEW, 1, old))
    twice = codec(node=8).encode_recovered(ring_bytes(RingId(10, 1, 1)), 2, once)
    assert len(twice.datagram) == len(old.datagram) + RECOVERED_SIZE - DATA_SIZE
    received = decode(twice.datagram)
    assert isinstance(received, Packet)
    assert fields(old_packet(received))[1:8] == fields(old)[1:8]


def test_packet_that_fills_its_room_is_no_larger_than_a_datagram_when_it_is_recovered() -> None:
    room = 1400 - DATA_OVERHEAD
    packet = codec().encode_data(OLD, 1, 0, False, chunk_head(WHOLE, room - CHUNK_SIZE) + bytes(room - CHUNK_SIZE))
    assert len(codec().encode_recovered(NEW, 1, packet).datagram) == 1400


@st.composite
def tokens(draw: st.DrawFn) -> Token:
    seq = draw(COUNTED)
    requests = draw(st.lists(st.integers(1, max(seq, 1)), unique=True, max_size=128)) if seq else []
    return Token(
        destination=draw(U32),
        ring=draw(RING),
        token_seq=draw(COUNTED),
        seq=seq,
        message_seq=draw(COUNTED),
        aru=draw(st.integers(0, seq)),
        aru_id=draw(U32),
        fcc=draw(U32),
        backlog=draw(U32),
        phase=draw(st.sampled_from(list(Phase))),
        incomplete=draw(st.booleans()),
        requests=tuple(sorted(requests)),
        acknowledge=draw(st.integers(0, 127)),
        copy=draw(st.integers(0, 255)),
    )


@given(token=tokens())
def test_token_round_trip(token: Token) -> None:
    assert decode(codec().encode_token(token)) == token


@given(join=st.builds(Join, IDENTITIES, SEQUENCES, NODES, NODES, st.booleans()))
def test_join_round_trip(join: Join) -> None:
    join = join._replace(alive=tuple(sorted(set(join.alive) - set(join.fail_set))))
    assert decode(membership_codec().encode_join(join)) == join


@given(beacon=st.builds(Beacon, IDENTITIES, RING, U32, st.integers(0, 2**32 - 1), NODES, NODES, NODES))
def test_beacon_round_trip(beacon: Beacon) -> None:
    room = put_off_that_fit(len(beacon.members), len(beacon.heard), 64)
    beacon = beacon._replace(put_off=beacon.put_off[:room])
    assert decode(membership_codec().encode_beacon(beacon)) == beacon


def test_beacon_that_says_the_same_is_the_same_objects() -> None:
    """So a beacon that repeats what the one before said costs little, and what is remembered of both is kept once."""
    codec = membership_codec()
    first, second = (decode(codec.encode_beacon(BEACON._replace(number=number))) for number in (7, 8))
    assert (first.number, second.number) == (7, 8)
    for name in ("members", "heard", "put_off"):
        assert getattr(first, name) is getattr(second, name)
    assert first.identity.limits is second.identity.limits
    other = decode(codec.encode_beacon(BEACON._replace(heard=(), interval_ms=BEACON.interval_ms + 1)))
    assert (other.heard, other.interval_ms) == ((), BEACON.interval_ms + 1)


@given(leave=st.builds(Leave, IDENTITIES, RING))
def test_leave_round_trip(leave: Leave) -> None:
    datagram = membership_codec().encode_leave(leave)
    assert codec().open(datagram) == (Kind.LEAVE, NODE)
    assert decode(datagram) == leave


@given(value=st.builds(Acknowledgement, U32, RING, st.sampled_from((2, 4)), st.integers(0, 255), U64))
def test_acknowledgement_round_trip(value: Acknowledgement) -> None:
    assert decode(membership_codec().encode_acknowledgement(value)) == value


@given(value=st.builds(Challenge, U32, U64, U64, U64))
def test_challenge_round_trip(value: Challenge) -> None:
    assert decode(membership_codec().encode_challenge(value)) == value


@given(value=st.builds(Response, U64, U64, U64, st.integers(0, 2**16 - 1)))
def test_response_round_trip(value: Response) -> None:
    assert decode(membership_codec().encode_response(value)) == value


def test_only_a_token_and_a_commit_token_are_acknowledged() -> None:
    for what in (0, 1, 3, 5, 255):
        assert reason(overwrite(GOLDEN["acknowledgement"], 40, bytes([what]))) == "range"


@given(ring=RING)
def test_wake_round_trip(ring: bytes) -> None:
    assert decode(membership_codec().encode_wake(ring)) == ring


@given(refuse=st.builds(Refuse, U32, U64, U16, LIMITS_ST))
def test_refuse_round_trip(refuse: Refuse) -> None:
    assert decode(membership_codec().encode_refuse(refuse)) == refuse


@st.composite
def entry_lists(draw: st.DrawFn) -> tuple[Entry, ...]:
    nodes = draw(st.lists(st.integers(1, NODE_MAX), min_size=1, max_size=12, unique=True))
    return tuple(
        Entry(node, draw(U64), patience > 0, draw(RING), draw(COUNTED), draw(COUNTED), draw(NODES), max(1, patience))
        for node in sorted(nodes)
        for patience in [draw(st.integers(0, 64))]
    )


@given(entries=entry_lists(), rotation=st.floats(0, 2), size=st.integers(512, 1400))
def test_commit_token_round_trip_in_datagrams_of_any_size(
    entries: tuple[Entry, ...], rotation: float, size: int
) -> None:
    hop = int(rotation * len(entries))
    datagrams = membership_codec().encode_commit(3, NEW, hop, entries, size)
    assert all(len(datagram) <= size for datagram in datagrams)
    parts = [decode(datagram) for datagram in datagrams]
    first = 0
    joined: list[Entry] = []
    for part in parts:
        assert isinstance(part, CommitPart)
        assert (part.destination, part.ring, part.hop) == (3, NEW, hop)
        assert (part.members, part.first) == (len(entries), first)
        first += len(part.entries)
        joined.extend(part.entries)
    assert tuple(joined) == entries


def test_commit_token_uses_no_more_datagrams_than_it_needs() -> None:
    entries = tuple(Entry(node, 0, False, bytes(20), 0, 0, ()) for node in range(1, 65))
    # 1400 bytes less header, head of the commit token and trailer hold 26 entries of 51 bytes.
    assert len(membership_codec().encode_commit(2, NEW, 0, entries, 1400)) == 3
    exactly = HEADER_SIZE + 34 + 26 * 51 + TRAILER_SIZE
    assert len(membership_codec().encode_commit(2, NEW, 0, entries[:26], exactly)) == 1
    assert len(membership_codec().encode_commit(2, NEW, 0, entries[:26], exactly - 1)) == 2


def test_codec_says_kind_and_sender_of_what_it_opens() -> None:
    for name in NAMES:
        kind, sender = codec().open(GOLDEN[name])
        assert Kind(kind) == GOLDEN[name][1]
        assert sender == NODE


def test_identity_is_the_whole_of_what_must_be_equal() -> None:
    assert IDENTITY.limits == LIMITS
    assert Limits._fields == ("quorum", "members_max", "message_size_max", "window_size", "datagram_size")
    assert ring_from_bytes(OLD) == OLD_ID
