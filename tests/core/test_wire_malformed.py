"""Each way in which the bytes of a datagram can be wrong, by the reason that is counted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import (
    BEACON,
    CLUSTER,
    DATA_NUMBERS,
    ENTRIES,
    GOLDEN,
    JOIN,
    NEW,
    OLD,
    TOKEN,
    TOKEN_NUMBERS,
    UNBLOCK_CHUNKS,
    WHOLE,
    codec,
    decode,
    membership_codec,
    overwrite,
    renumber,
    reseal,
    seal,
)

from ringproto._core.wire.membership import (
    CommitPart,
    Join,
)
from ringproto._core.wire.regular import (
    CHUNK_CONTROL,
    CHUNK_FIRST,
    CHUNK_LAST,
    CHUNK_SAFE,
    CHUNK_SIZE,
    DATA_SIZE,
    HEADER_SIZE,
    RECOVERED_SIZE,
    TRAILER_SIZE,
    Kind,
    Malformed,
    Packet,
    Token,
    check_chunks,
    chunk_head,
)
from ringproto.types import Priority

NAMES = sorted(GOLDEN)
U32 = st.integers(0, 2**32 - 1)


def reason(datagram: bytes, *, members_max: int = 64, requests_max: int = 128) -> str:
    """Why this is dropped; a failure if it is not."""
    with pytest.raises(Malformed) as caught:
        decode(datagram, members_max=members_max, requests_max=requests_max)
    return str(caught.value.args[0])


# Bytes that are wrong


@pytest.mark.parametrize("name", NAMES)
def test_datagram_cut_short_at_any_byte_is_dropped(name: str) -> None:
    golden = GOLDEN[name]
    for size in range(len(golden)):
        assert reason(golden[:size]) == ("too_short" if size < HEADER_SIZE + TRAILER_SIZE else "checksum")


def chunk_ends(datagram: bytes) -> set[int]:
    """Where chunks end: cut there, a packet is a shorter packet."""
    packet = decode(datagram)
    assert isinstance(packet, Packet)
    ends = set()
    at = packet.body
    while at < len(datagram) - TRAILER_SIZE:
        at += CHUNK_SIZE + int.from_bytes(datagram[at + 1 : at + 3], "big")
        ends.add(at)
    return ends


@pytest.mark.parametrize("name", NAMES)
def test_datagram_made_too_short_is_dropped_though_its_checksum_is_right(name: str) -> None:
    content = GOLDEN[name][:-TRAILER_SIZE]
    data = content[1] == Kind.DATA
    ends = chunk_ends(GOLDEN[name]) if data else set()
    for size in range(len(content)):
        short = seal(content[:size])
        if size in ends:
            decode(short)
        elif size < HEADER_SIZE:
            assert reason(short) == "too_short"
        elif data:
            head = RECOVERED_SIZE if name == "recovered" else DATA_SIZE
            assert reason(short) == ("too_short" if size < head else "chunk")
        else:
            assert reason(short) in ("too_short", "length")


@pytest.mark.parametrize("name", NAMES)
def test_datagram_made_longer_is_dropped_though_its_checksum_is_right(name: str) -> None:
    golden = GOLDEN[name]
    source = random.Random(1)
    for more in (1, 2, 3, 4, 8, 20, 51, 600):
        assert reason(golden + bytes(more)) == "checksum"
        assert reason(seal(golden[:-TRAILER_SIZE] + bytes(range(64, 64 + 180))[:more])) in ("length", "chunk")
        assert reason(seal(golden[:-TRAILER_SIZE] + b"\xff" * more)) in ("length", "chunk")
        assert reason(golden[:-TRAILER_SIZE] + source.randbytes(more) + golden[-TRAILER_SIZE:]) == "checksum"


@pytest.mark.parametrize("name", NAMES)
def test_every_single_bit_error_is_dropped(name: str) -> None:
    golden = GOLDEN[name]
    for bit in range(8 * len(golden)):
        damaged = bytearray(golden)
        damaged[bit // 8] ^= 1 << bit % 8
        expected = {0: "version", 2: "suite"}.get(bit // 8, "other_cluster" if 4 <= bit // 8 < 12 else "checksum")
        assert reason(bytes(damaged)) == expected


def test_other_version_is_told_from_damage() -> None:
    for version in (0, 2, 255):
        assert reason(overwrite(GOLDEN["token"], 0, bytes([version]))) == "version"


def test_other_cluster_is_told_from_damage() -> None:
    for name in NAMES:
        foreign = overwrite(GOLDEN[name], 4, (CLUSTER + 1).to_bytes(8, "big"))
        assert reason(foreign) == "other_cluster"
        with pytest.raises(Malformed, match="other_cluster"):
            decode(GOLDEN[name], mine=codec(cluster=CLUSTER + 1))


def test_unknown_suite_is_dropped() -> None:
    for suite in (1, 2, 255):
        assert reason(overwrite(GOLDEN["data"], 2, bytes([suite]))) == "suite"


def test_unknown_type_is_dropped() -> None:
    for kind in (0, 12, 128, 255):
        assert reason(overwrite(GOLDEN["wake"], 1, bytes([kind]))) == "type"


def test_reserved_flags_are_dropped() -> None:
    for flags in (4, 5, 128, 255):
        assert reason(overwrite(GOLDEN["data"], 3, bytes([flags]))) == "flags"
    for name in NAMES:
        if GOLDEN[name][1] not in (Kind.DATA, Kind.TOKEN, Kind.COMMIT):
            for flags in (2, 3, 128) if GOLDEN[name][1] in (Kind.JOIN, Kind.BEACON) else (1, 2, 3, 128):
                assert reason(overwrite(GOLDEN[name], 3, bytes([flags]))) == "flags"


def test_flags_of_a_token_and_of_a_commit_token_are_the_number_of_the_copy() -> None:
    for copy in (0, 1, 255):
        for name in ("token", "commit"):
            token = decode(overwrite(GOLDEN[name], 3, bytes([copy])))
            assert isinstance(token, Token | CommitPart) and token.copy == copy


def test_sender_nobody_is_dropped() -> None:
    for name in NAMES:
        assert reason(overwrite(GOLDEN[name], 12, bytes(4))) == "sender"


def test_refusal_with_an_identity_is_dropped() -> None:
    """It carries limits alone: what is not said has one encoding."""
    for at in (30, 37, 38, 45):  # the first and the last byte of the incarnation and of the serial
        assert reason(overwrite(GOLDEN["refuse"], at, b"\x01")) == "range"


TOO_FAR = (2**63, 2**63 + 1, 2**64 - 1)


def test_numbers_that_could_not_be_counted_on_from_are_dropped() -> None:
    """Half of what their bits hold is more than any ring lives to see, and leaves room to add."""
    limit = 2**63 - 1
    token = TOKEN._replace(token_seq=limit, seq=limit, message_seq=limit, aru=limit, requests=())
    assert decode(codec().encode_token(token)) == token
    assert decode(codec().encode_data(OLD, limit, limit, False, UNBLOCK_CHUNKS).datagram)
    for number in TOO_FAR:
        for field in ("token_seq", "seq", "message_seq"):
            assert reason(renumber(codec().encode_token(token), TOKEN_NUMBERS[field], number)) == "range"
        for field in ("seq", "message_seq"):
            assert reason(renumber(packet_of(UNBLOCK_CHUNKS), DATA_NUMBERS[field], number)) == "sequence"
        assert reason(renumber(GOLDEN["recovered"], 72, number)) == "sequence"
    assert decode(renumber(GOLDEN["recovered"], 72, limit))
    for hop in (2**31, 2**32 - 1):
        assert reason(overwrite(GOLDEN["commit"], 40, hop.to_bytes(4, "big"))) == "range"
    assert decode(overwrite(GOLDEN["commit"], 40, (2**31 - 1).to_bytes(4, "big")))


RING_IDS = [
    # name, offsets of its ring ids
    ("data", (16,)),
    ("recovered", (16, 52)),
    ("token", (20,)),
    ("commit", (20, 63, 63 + 51 + 8)),
    ("beacon", (44,)),
    ("wake", (16,)),
    ("leave", (44,)),
    ("join", (44,)),  # the sequence alone
]


@pytest.mark.parametrize(("name", "places"), RING_IDS)
def test_ring_sequences_above_the_highest_are_dropped(name: str, places: Sequence[int]) -> None:
    for at in places:
        assert decode(renumber(GOLDEN[name], at, 2**62))
        for sequence in (2**62 + 1, 2**63, 2**64 - 1):
            assert reason(renumber(GOLDEN[name], at, sequence)) == "sequence"


@pytest.mark.parametrize("at", [63 + 20, 63 + 28])
def test_packet_numbers_of_a_commit_entry_have_the_bound_of_packets(at: int) -> None:
    assert decode(renumber(GOLDEN["commit"], at, 2**63 - 1))
    for number in TOO_FAR:
        assert reason(renumber(GOLDEN["commit"], at, number)) == "sequence"


def test_packet_number_nothing_is_dropped() -> None:
    assert reason(overwrite(GOLDEN["data"], 36, bytes(8))) == "sequence"
    assert reason(overwrite(GOLDEN["recovered"], 36, bytes(8))) == "sequence"
    assert reason(overwrite(GOLDEN["recovered"], 72, bytes(8))) == "sequence"


LYING = (0, 1, 2, 3, 4, 63, 64, 65, 127, 128, 129, 2**15 - 1, 2**15, 2**15 + 1, 2**16 - 2, 2**16 - 1)
COUNTS = [
    # name, offset of a u16 that counts something, numbers other than the truth with which it is well formed
    ("token", 86, ()),
    ("join", 52, ()),
    ("join", 54, ()),
    ("beacon", 72, ()),
    ("beacon", 74, ()),
    ("beacon", 76, ()),
    ("commit", 44, range(2, 65)),  # of a commit token with more members
    ("commit", 46, ()),
    ("commit", 48, ()),
    ("commit", 50 + 49, ()),
    ("commit", 50 + 51 + 8 + 49, ()),
    ("commit part 1", 44, range(1, 65)),
    ("commit part 1", 46, (1,)),  # the other part
    ("commit part 1", 48, ()),
    ("commit part 1", 50 + 49, ()),
    ("commit part 2", 44, range(2, 65)),
    ("commit part 2", 46, (0,)),
    ("commit part 2", 48, ()),
    ("commit part 2", 50 + 49, ()),
]


@pytest.mark.parametrize(("name", "at", "well_formed"), COUNTS)
def test_count_that_lies_is_dropped(name: str, at: int, well_formed: Sequence[int]) -> None:
    golden = GOLDEN[name]
    truth = int.from_bytes(golden[at : at + 2], "big")
    for lie in LYING:
        if lie != truth and lie not in well_formed:
            assert reason(overwrite(golden, at, lie.to_bytes(2, "big"))) in ("length", "range", "nodes")


def test_counts_above_what_this_processor_permits_are_dropped() -> None:
    assert reason(GOLDEN["token"], requests_max=1) == "range"
    assert reason(GOLDEN["join"], members_max=1) == "range"
    assert reason(GOLDEN["beacon"], members_max=2) == "range"
    crowded = membership_codec().encode_beacon(BEACON._replace(put_off=(1, 4)))
    assert reason(crowded, members_max=3) == "range"
    assert reason(GOLDEN["commit"], members_max=1) == "range"
    many = membership_codec().encode_join(JOIN._replace(alive=(4,), fail_set=(1, 2, 3)))
    assert reason(many, members_max=2) == "range"
    owing = membership_codec().encode_commit(8, NEW, 1, (ENTRIES[0]._replace(obligations=(1, 2, 3)), ENTRIES[1]), 1400)
    assert reason(owing[0], members_max=2) == "range"


def test_join_of_who_knows_somebody_alive_and_given_up_is_dropped() -> None:
    assert reason(membership_codec().encode_join(JOIN._replace(alive=(1, 2, 7), fail_set=(2,)))) == "nodes"


def test_small_numbers_above_their_range_are_dropped() -> None:
    for phase in (3, 4, 255):
        assert reason(overwrite(GOLDEN["token"], 84, bytes([phase]))) == "range"
    for patience in (65, 255):
        assert reason(overwrite(GOLDEN["commit"], 50 + 12, bytes([patience]))) == "range"


@pytest.mark.parametrize(
    "change",
    [
        {"aru": 0x305},
        {"aru": 2**63 - 1},
        {"requests": (0, 0x302)},
        {"requests": (0x302, 0x302)},
        {"requests": (0x304, 0x302)},
        {"requests": (0x302, 0x305)},
        {"requests": (0x302, 2**64 - 1)},
        {"seq": 0, "aru": 0},
    ],
)
def test_token_with_impossible_numbers_is_dropped(change: dict[str, Any]) -> None:
    assert reason(codec().encode_token(TOKEN._replace(**change))) == "sequence"


def test_token_with_the_highest_aru_there_is_is_dropped() -> None:
    assert reason(renumber(GOLDEN["token"], TOKEN_NUMBERS["aru"], 2**64 - 1)) == "sequence"


@pytest.mark.parametrize("nodes", [(0,), (0, 1), (2, 1), (1, 1), (1, 3, 2)])
def test_node_ids_that_do_not_rise_or_are_nobody_are_dropped(nodes: tuple[int, ...]) -> None:
    assert reason(membership_codec().encode_join(JOIN._replace(alive=nodes))) == "nodes"
    assert reason(membership_codec().encode_join(JOIN._replace(fail_set=nodes))) == "nodes"
    assert reason(membership_codec().encode_beacon(BEACON._replace(members=nodes))) == "nodes"
    assert reason(membership_codec().encode_beacon(BEACON._replace(heard=nodes))) == "nodes"
    assert reason(membership_codec().encode_beacon(BEACON._replace(put_off=nodes))) == "nodes"
    owing = (ENTRIES[0]._replace(obligations=nodes), ENTRIES[1])
    assert reason(membership_codec().encode_commit(8, NEW, 1, owing, 1400)[0]) == "nodes"


def test_commit_entries_out_of_order_are_dropped() -> None:
    for entries in ((ENTRIES[1], ENTRIES[0]), (ENTRIES[0], ENTRIES[0]), (ENTRIES[0]._replace(node=0), ENTRIES[1])):
        assert reason(membership_codec().encode_commit(8, NEW, 1, entries, 1400)[0]) == "range"


def packet_of(chunks: bytes) -> bytes:
    return codec().encode_data(OLD, 1, 0, False, chunks).datagram


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"", id="no chunk at all"),
        pytest.param(b"\x19", id="head cut after the flags"),
        pytest.param(b"\x19\x00", id="head cut in the size"),
        pytest.param(chunk_head(WHOLE | 1, 4) + b"abc", id="size one too large"),
        pytest.param(chunk_head(WHOLE | 1, 2) + b"abc", id="size one too small"),
        pytest.param(chunk_head(WHOLE | 1, 65535) + b"abc", id="size as large as it can be"),
        pytest.param(chunk_head(WHOLE | 3, 1) + b"a", id="reserved priority"),
        pytest.param(chunk_head(WHOLE | 1 | 64, 1) + b"a", id="reserved bit 64"),
        pytest.param(chunk_head(WHOLE | 1 | 128, 1) + b"a", id="reserved bit 128"),
        pytest.param(chunk_head(CHUNK_FIRST | 1, 0), id="empty first piece"),
        pytest.param(chunk_head(CHUNK_LAST | 1, 0), id="empty last piece"),
        pytest.param(chunk_head(1, 0), id="empty middle piece"),
        pytest.param(chunk_head(CHUNK_CONTROL | WHOLE, 20) + b"\x01" + OLD[:19], id="control too small"),
        pytest.param(chunk_head(CHUNK_CONTROL | WHOLE, 22) + b"\x01" + OLD + b"\0", id="control too large"),
        pytest.param(chunk_head(CHUNK_CONTROL | WHOLE, 0), id="control empty"),
        pytest.param(chunk_head(CHUNK_CONTROL | WHOLE, 21), id="control without its bytes"),
        pytest.param(chunk_head(CHUNK_CONTROL | WHOLE, 21) + b"\x02" + OLD, id="unknown control"),
        pytest.param(chunk_head(CHUNK_CONTROL | CHUNK_FIRST, 21) + b"\x01" + OLD, id="control not whole"),
        pytest.param(chunk_head(CHUNK_CONTROL | WHOLE | 1, 21) + b"\x01" + OLD, id="control with a priority"),
        pytest.param(chunk_head(CHUNK_CONTROL | WHOLE | CHUNK_SAFE, 21) + b"\x01" + OLD, id="control safe"),
    ],
)
def test_chunks_that_contradict_themselves_are_dropped(chunks: bytes) -> None:
    assert reason(packet_of(chunks)) == "chunk"
    if chunks:
        # Behind good ones too, and in a packet that is carried in recovery.
        assert reason(packet_of(chunk_head(WHOLE, 2) + b"ok" + chunks)) == "chunk"
        carried = codec().encode_recovered(NEW, 1, codec().encode_data(OLD, 1, 0, False, chunks))
        assert reason(carried.datagram) == "chunk"


def test_whole_message_of_no_bytes_is_a_chunk() -> None:
    packet = decode(packet_of(chunk_head(WHOLE | Priority.LOW, 0)))
    assert isinstance(packet, Packet)
    assert packet.chunks() == b"\x1a\x00\x00"


@given(noise=st.binary(max_size=300))
def test_random_bytes_are_dropped(noise: bytes) -> None:
    reason(noise)


@settings(max_examples=400)
@given(body=st.binary(max_size=200), kind=st.integers(0, 255), flags=st.integers(0, 255), sender=U32)
def test_random_body_in_a_good_envelope_is_read_or_dropped(body: bytes, kind: int, flags: int, sender: int) -> None:
    head = bytes([1, kind, 0, flags]) + CLUSTER.to_bytes(8, "big") + sender.to_bytes(4, "big")
    try:
        decode(seal(head + body))
    except Malformed as error:
        assert error.args[0] in [
            "type",
            "flags",
            "sender",
            "too_short",
            "length",
            "range",
            "sequence",
            "nodes",
            "chunk",
        ]


@settings(max_examples=1000)
@given(
    name=st.sampled_from(NAMES),
    changes=st.lists(st.tuples(st.integers(HEADER_SIZE, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_what_is_read_from_mutated_bytes_is_well_formed(name: str, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(GOLDEN[name])
    for at, value in changes:
        damaged[HEADER_SIZE + (at - HEADER_SIZE) % (len(damaged) - HEADER_SIZE)] = value
    datagram = reseal(bytes(damaged))
    try:
        body = decode(datagram)
    except Malformed:
        return
    if isinstance(body, Packet):
        assert body.seq > 0
        check_chunks(datagram, body.body, len(datagram) - TRAILER_SIZE)
    elif isinstance(body, Token):
        assert body.aru <= body.seq
        assert list(body.requests) == sorted(set(body.requests))
        assert all(0 < seq <= body.seq for seq in body.requests)
        assert codec().encode_token(body) == datagram
    elif isinstance(body, Join):
        assert 0 not in body.alive + body.fail_set
        assert membership_codec().encode_join(body) == datagram
    elif isinstance(body, CommitPart):
        assert body.first + len(body.entries) <= body.members <= 64
        assert all(len(entry.obligations) <= 64 for entry in body.entries)
