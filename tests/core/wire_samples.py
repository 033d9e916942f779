"""One datagram of every format, as values and as golden bytes; what docs/wire.md prints is held against these."""

from __future__ import annotations

import struct
import zlib

from ringproto._core.wire.membership import (
    Acknowledgement,
    Beacon,
    Challenge,
    Entry,
    Identity,
    Join,
    Leave,
    Limits,
    MembershipCodec,
    Refuse,
    Response,
)
from ringproto._core.wire.regular import (
    CHUNK_FIRST,
    CHUNK_LAST,
    CHUNK_SAFE,
    Codec,
    Kind,
    Packet,
    Phase,
    Token,
    chunk_head,
    ring_bytes,
    unblock_chunk,
)
from ringproto.types import Priority, RingId

CLUSTER = 0x0123456789ABCDEF
NODE = 7
OLD_ID = RingId(5, 2, 0x03A1B2C3D4E5F607)
NEW_ID = RingId(9, 1, 0xF1F2F3F4F5F6F7F8)
OLD = ring_bytes(OLD_ID)
NEW = ring_bytes(NEW_ID)
LIMITS = Limits(quorum=2, members_max=64, message_size_max=2**20, window_size=256, datagram_size=1400)
IDENTITY = Identity(0xC1C2C3C4C5C6C7C8, 0x11, LIMITS)
WHOLE = CHUNK_FIRST | CHUNK_LAST

TOKEN = Token(
    destination=8,
    ring=OLD,
    token_seq=0x102,
    seq=0x304,
    message_seq=0x506,
    aru=0x301,
    aru_id=9,
    fcc=10,
    backlog=11,
    phase=Phase.RECEIVED,
    incomplete=True,
    requests=(0x302, 0x304),
    acknowledge=5,
    copy=3,
)
JOIN = Join(IDENTITY, ring_sequence=0x21, alive=(1, 7), fail_set=(2,), informed=True)
BEACON = Beacon(IDENTITY, OLD, 0x12, 263, (2, 7, 9), (2, 3), (4,), busy=True)
LEAVE = Leave(IDENTITY, OLD)
REFUSE = Refuse(target=3, target_incarnation=0xD1D2D3D4D5D6D7D8, members=4, limits=LIMITS)
ACKNOWLEDGEMENT = Acknowledgement(destination=6, ring=OLD, what=Kind.TOKEN, copy=3, number=0x102)
CHALLENGE = Challenge(target=3, incarnation=0xD1D2D3D4D5D6D7D8, nonce=0xA1A2A3A4A5A6A7A8, challenger=0xC1C2C3C4C5C6C7C8)
RESPONSE = Response(incarnation=0xC1C2C3C4C5C6C7C8, nonce=0xA1A2A3A4A5A6A7A8, serial=0x11, members=4)
ENTRIES = (
    Entry(1, 0xE1E2E3E4E5E6E7E8, True, OLD, 0x31, 0x30, (1, 2)),
    Entry(8, 0, False, bytes(20), 0, 0, ()),
)
HOP = 3

CHUNKS = chunk_head(WHOLE | CHUNK_SAFE | Priority.HIGH, 3) + b"abc" + chunk_head(CHUNK_FIRST | Priority.LOW, 2) + b"xy"
UNBLOCK_CHUNKS = chunk_head(WHOLE | Priority.RECOVERY, 0) + unblock_chunk(OLD)

GOLDEN: dict[str, bytes] = {
    name: bytes.fromhex(text)
    for name, text in {
        "data": (
            "01010001 01234567 89abcdef 00000007 00000000 00000005 00000002 03a1b2c3 d4e5f607 00000000 "
            "00001122 00000000 00003344 1d000361 62630a00 0278795f 477a47"
        ),
        "unblock": (
            "01010000 01234567 89abcdef 00000007 00000000 00000005 00000002 03a1b2c3 d4e5f607 00000000 "
            "00000001 00000000 00000000 18000038 00150100 00000000 00000500 00000203 a1b2c3d4 e5f60716 "
            "e65c10"
        ),
        "recovered": (
            "01010003 01234567 89abcdef 00000007 00000000 00000009 00000001 f1f2f3f4 f5f6f7f8 00000000 "
            "00000004 00000000 00003344 00000000 00000005 00000002 03a1b2c3 d4e5f607 00000000 00001122 "
            "1d000361 62630a00 0278793d f89c7d"
        ),
        "token": (
            "01020003 01234567 89abcdef 00000007 00000008 00000000 00000005 00000002 03a1b2c3 d4e5f607 00000000 "
            "00000102 00000000 00000304 00000000 00000506 00000000 00000301 00000009 0000000a 0000000b 010b0002 "
            "00000000 00000302 00000000 00000304 261ba6b5"
        ),
        "join": (
            "01030001 01234567 89abcdef 00000007 c1c2c3c4 c5c6c7c8 00000000 00000011 00020040 00100000 01000578 "
            "00000000 00000021 00020001 00000001 00000007 00000002 5f6e5ea2"
        ),
        "commit": (
            "01040000 01234567 89abcdef 00000007 00000008 00000000 00000009 00000001 f1f2f3f4 f5f6f7f8 "
            "00000003 00020000 00020000 0001e1e2 e3e4e5e6 e7e80100 00000000 00000500 00000203 a1b2c3d4 "
            "e5f60700 00000000 00003100 00000000 00003000 02000000 01000000 02000000 08000000 00000000 "
            "00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 "
            "18036b92"
        ),
        "commit part 1": (
            "01040000 01234567 89abcdef 00000007 00000008 00000000 00000009 00000001 f1f2f3f4 f5f6f7f8 "
            "00000003 00020000 00010000 0001e1e2 e3e4e5e6 e7e80100 00000000 00000500 00000203 a1b2c3d4 "
            "e5f60700 00000000 00003100 00000000 00003000 02000000 01000000 02b4b4d4 89"
        ),
        "commit part 2": (
            "01040000 01234567 89abcdef 00000007 00000008 00000000 00000009 00000001 f1f2f3f4 f5f6f7f8 "
            "00000003 00020001 00010000 00080000 00000000 00000000 00000000 00000000 00000000 00000000 "
            "00000000 00000000 00000000 00000000 00000000 0007af16 ae"
        ),
        "beacon": (
            "01050001 01234567 89abcdef 00000007 c1c2c3c4 c5c6c7c8 00000000 00000011 00020040 00100000 01000578 "
            "00000000 00000005 00000002 03a1b2c3 d4e5f607 00000012 00000107 00030002 00010000 00020000 00070000 "
            "00090000 00020000 00030000 00041d22 55f3"
        ),
        "wake": "01060000 01234567 89abcdef 00000007 00000000 00000005 00000002 03a1b2c3 d4e5f607 88dddcf2",
        "leave": (
            "01070000 01234567 89abcdef 00000007 c1c2c3c4 c5c6c7c8 00000000 00000011 00020040 00100000 "
            "01000578 00000000 00000005 00000002 03a1b2c3 d4e5f607 20016b19"
        ),
        "refuse": (
            "01080000 01234567 89abcdef 00000007 00000003 d1d2d3d4 d5d6d7d8 00040000 00000000 00000000 "
            "00000000 00000002 00400010 00000100 0578911f ec5b"
        ),
        "acknowledgement": (
            "01090000 01234567 89abcdef 00000007 00000006 00000000 00000005 00000002 03a1b2c3 d4e5f607 02030000 "
            "00000000 01029ec2 a088"
        ),
        "challenge": (
            "010a0000 01234567 89abcdef 00000007 00000003 d1d2d3d4 d5d6d7d8 a1a2a3a4 a5a6a7a8 c1c2c3c4 c5c6c7c8 "
            "f2574183"
        ),
        "response": (
            "010b0000 01234567 89abcdef 00000007 c1c2c3c4 c5c6c7c8 a1a2a3a4 a5a6a7a8 00000000 00000011 00041031 c4fb"
        ),
    }.items()
}
"""Written down once and never computed: a change here is a change of the format, and needs a new version."""


def codec(cluster: int = CLUSTER, node: int = NODE) -> Codec:
    return Codec(cluster, node)


def membership_codec(node: int = NODE) -> MembershipCodec:
    return MembershipCodec(codec(node=node))


def encoded() -> dict[str, bytes]:
    """The same datagrams as the code makes them."""
    mine = codec()
    membership = membership_codec()
    data = mine.encode_data(OLD, 0x1122, 0x3344, True, CHUNKS)
    return {
        "data": data.datagram,
        "unblock": mine.encode_data(OLD, 1, 0, False, UNBLOCK_CHUNKS).datagram,
        "recovered": mine.encode_recovered(NEW, 4, data).datagram,
        "token": mine.encode_token(TOKEN),
        "join": membership.encode_join(JOIN),
        "commit": membership.encode_commit(8, NEW, HOP, ENTRIES, 1400)[0],
        "commit part 1": membership.encode_commit(8, NEW, HOP, ENTRIES, 120)[0],
        "commit part 2": membership.encode_commit(8, NEW, HOP, ENTRIES, 120)[1],
        "beacon": membership.encode_beacon(BEACON),
        "wake": membership.encode_wake(OLD),
        "leave": membership.encode_leave(LEAVE),
        "refuse": membership.encode_refuse(REFUSE),
        "acknowledgement": membership.encode_acknowledgement(ACKNOWLEDGEMENT),
        "challenge": membership.encode_challenge(CHALLENGE),
        "response": membership.encode_response(RESPONSE),
    }


def seal(content: bytes) -> bytes:
    """A datagram of these bytes with the trailer that belongs to them."""
    return content + struct.pack(">I", zlib.crc32(content))


def reseal(datagram: bytes) -> bytes:
    """The same with its trailer made right."""
    return seal(datagram[:-4])


def overwrite(datagram: bytes, at: int, new: bytes) -> bytes:
    """Some bytes changed, and the trailer made right."""
    return seal((datagram[:at] + new + datagram[at + len(new) :])[:-4])


TOKEN_NUMBERS = {"token_seq": 40, "seq": 48, "message_seq": 56, "aru": 64}
DATA_NUMBERS = {"seq": 36, "message_seq": 44}
"""Where numbers of eight bytes stand in a token, and in a packet."""


def renumber(datagram: bytes, at: int, number: int) -> bytes:
    """A number of eight bytes changed, and the trailer made right: also to one that no codec would write."""
    return overwrite(datagram, at, number.to_bytes(8, "big"))


def decode(datagram: bytes, *, members_max: int = 64, requests_max: int = 128, mine: Codec | None = None) -> object:
    """What a processor makes of a datagram, before it looks at its own state. Raises Malformed."""
    mine = mine or codec()
    kind, _ = mine.open(datagram)
    if kind == Kind.DATA:
        return mine.decode_data(datagram)
    if kind == Kind.TOKEN:
        return mine.decode_token(datagram, requests_max)
    return MembershipCodec(mine).decode(kind, datagram, members_max)


def fields(packet: Packet) -> tuple[object, ...]:
    """A packet as a value that can be compared."""
    return (
        packet.datagram,
        packet.sender,
        packet.ring,
        packet.seq,
        packet.message_seq,
        bool(packet.safe),
        packet.old_ring,
        packet.old_seq,
        packet.body,
    )
