"""docs/wire.md says what the code does: its tables are read and held against the golden bytes, field by field."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from wire_samples import (
    ACKNOWLEDGEMENT,
    BEACON,
    CHALLENGE,
    CLUSTER,
    ENTRIES,
    GOLDEN,
    HOP,
    IDENTITY,
    JOIN,
    LIMITS,
    NEW_ID,
    NODE,
    OLD_ID,
    REFUSE,
    RESPONSE,
    TOKEN,
)

from ringproto._core.wire.regular import (
    CONTROL_SIZE,
    DATA_OVERHEAD,
    DATA_SIZE,
    HEADER_SIZE,
    RECOVERED_SIZE,
    TOKEN_FIELDS,
    TRAILER_SIZE,
    VERSION,
    Kind,
)
from ringproto.transports._claims import HEAD_SIZE as CLAIM_HEAD_SIZE
from ringproto.transports._claims import claim_of
from ringproto.types import RingId

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "ring id": 20, "identity": 28}


def tables() -> dict[str, list[tuple[str, str, str]]]:
    """The rows (offset, type, field) of the layout table under each heading."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    heading = ""
    inside = False
    for line in DOCUMENT.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells[:1] == ["offset"]:
            inside = True
            found[heading] = []
        elif not cells:
            inside = False
        elif inside and not cells[0].startswith("---"):
            found[heading].append((cells[0], cells[1], cells[2]))
    return found


def printed() -> dict[str, bytes]:
    """The golden bytes that the document prints: an indented block with its name and then its bytes."""
    blocks = re.findall(r"^    ([a-z][a-z0-9 ]*)\n((?:    [0-9a-f ]+\n?)+)", DOCUMENT, re.MULTILINE)
    return {name: bytes.fromhex(text) for name, text in blocks}


TABLES = tables()


def fixed_part(heading: str) -> list[tuple[int, int, str]]:
    """(offset, size, field) of the fields of a table that have a size and a place of their own."""
    parts = []
    for offset, kind, field in TABLES[heading]:
        if kind in SIZES and re.fullmatch(r"\+?\d+", offset):
            parts.append((int(offset), SIZES[kind], field))
    return parts


def read(heading: str, datagram: bytes, base: int = 0) -> dict[str, int | RingId | bytes]:
    """The fields of a datagram, read as the table says and with nothing of the code."""
    values: dict[str, int | RingId | bytes] = {}
    for offset, size, field in fixed_part(heading):
        part = datagram[base + offset : base + offset + size]
        assert len(part) == size
        if size == 20:
            values[field] = RingId(*(int.from_bytes(piece, "big") for piece in (part[:8], part[8:12], part[12:])))
        elif size == 28:
            values[field] = part
        else:
            values[field] = int.from_bytes(part, "big")
    return values


def test_golden_bytes_of_the_document_are_those_of_the_code() -> None:
    assert printed() == GOLDEN


@pytest.mark.parametrize("heading", sorted(TABLES))
def test_fields_of_a_table_follow_each_other_without_gap(heading: str) -> None:
    rows = TABLES[heading]
    at = 0 if rows[0][0] in ("0", "+0") else HEADER_SIZE
    for offset, kind, field in rows:
        if re.fullmatch(r"\+?\d+", offset):
            assert int(offset) == at, f"{field} of {heading}"
        if kind in SIZES:
            at += SIZES[kind]
        else:
            assert field in (
                "body",
                "chunks",
                "payload",
                "requests",
                "alive_set",
                "fail_set",
                "member_set",
                "heard_set",
                "put_off_set",
                "entries",
                "obligations",
            )


def fixed_size(heading: str) -> int:
    return max(offset + size for offset, size, _ in fixed_part(heading))


def test_sizes_of_the_tables_are_those_of_the_code() -> None:
    assert fixed_size("The envelope") == HEADER_SIZE
    assert fixed_size("Ring id") == SIZES["ring id"]
    assert fixed_size("Identity") == SIZES["identity"]
    assert fixed_size("DATA") == DATA_SIZE
    assert fixed_size("DATA that carries a packet of an old ring") == RECOVERED_SIZE
    assert fixed_size("Control message") == CONTROL_SIZE
    assert fixed_size("WAKE") + TRAILER_SIZE == len(GOLDEN["wake"])
    assert fixed_size("BEACON") + 4 * 6 + TRAILER_SIZE == len(GOLDEN["beacon"])
    assert fixed_size("LEAVE") + TRAILER_SIZE == len(GOLDEN["leave"])
    assert fixed_size("REFUSE") + TRAILER_SIZE == len(GOLDEN["refuse"])
    for heading in ("ACKNOWLEDGEMENT", "CHALLENGE", "RESPONSE"):
        assert fixed_size(heading) + TRAILER_SIZE == len(GOLDEN[heading.lower()])
    assert fixed_size("TOKEN") + 8 * 2 + TRAILER_SIZE == len(GOLDEN["token"])
    assert fixed_size("JOIN") + 3 * 4 + TRAILER_SIZE == len(GOLDEN["join"])
    entry = fixed_size("Entry")
    assert fixed_size("COMMIT") + 2 * entry + 4 * 2 + TRAILER_SIZE == len(GOLDEN["commit"])


def test_room_that_the_document_speaks_of_is_the_one_that_is_kept() -> None:
    assert DATA_OVERHEAD == RECOVERED_SIZE + TRAILER_SIZE == 84
    assert RECOVERED_SIZE - DATA_SIZE == 28
    assert "keeps\n84 bytes free" in DOCUMENT and "28 bytes more" in DOCUMENT


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_envelope_reads_as_the_document_says(name: str) -> None:
    golden = GOLDEN[name]
    values = read("The envelope", golden)
    assert values["version"] == VERSION == 1
    assert values["suite"] == 0
    assert values["cluster"] == CLUSTER
    assert values["sender"] == NODE
    assert int.from_bytes(golden[-TRAILER_SIZE:], "big") == zlib.crc32(golden[:-TRAILER_SIZE])
    word = Kind(golden[1]).name
    assert re.search(rf"\b{golden[1]} {word}\b", DOCUMENT)
    assert re.search(rf"^## {word}\n\nType {golden[1]}\.", DOCUMENT, re.MULTILINE)
    assert values["flags"] == {"data": 1, "recovered": 3, "join": 1, "beacon": 1, "token": TOKEN.copy}.get(name, 0)


def test_data_reads_as_the_document_says() -> None:
    golden = GOLDEN["data"]
    assert read("DATA", golden) == {"ring": OLD_ID, "seq": 0x1122, "message_seq": 0x3344}
    assert read("Chunk", golden, DATA_SIZE) == {"flags": 16 + 8 + 4 + 1, "size": 3}
    assert golden[DATA_SIZE + 3 :][:3] == b"abc"
    assert read("Chunk", golden, DATA_SIZE + 6) == {"flags": 8 + 2, "size": 2}


def test_unblock_reads_as_the_document_says() -> None:
    golden = GOLDEN["unblock"]
    assert read("Chunk", golden, DATA_SIZE) == {"flags": 16 + 8, "size": 0}
    assert read("Chunk", golden, DATA_SIZE + 3) == {"flags": 32 + 16 + 8, "size": 21}
    assert read("Control message", golden, DATA_SIZE + 6) == {"control": 1, "ring": OLD_ID}


def test_recovered_data_reads_as_the_document_says() -> None:
    assert read("DATA that carries a packet of an old ring", GOLDEN["recovered"]) == {
        "ring": NEW_ID,
        "seq": 4,
        "message_seq": 0x3344,
        "old_ring": OLD_ID,
        "old_seq": 0x1122,
    }


def test_token_reads_as_the_document_says() -> None:
    values = read("TOKEN", GOLDEN["token"])
    expected = {name: getattr(TOKEN, name) for name in TOKEN_FIELDS}
    requests = expected.pop("requests")
    expected["ring"] = OLD_ID
    expected["incomplete"] |= expected.pop("acknowledge") << 1
    del expected["copy"]  # in the flags of the header
    assert values.pop("count") == len(requests)
    assert values == expected
    assert tuple(int.from_bytes(GOLDEN["token"][at : at + 8], "big") for at in (88, 96)) == requests


def test_identity_reads_as_the_document_says() -> None:
    for name in ("join", "beacon", "leave"):
        values = read("Identity", GOLDEN[name], 16)
        assert values == {"incarnation": IDENTITY.incarnation, "serial": IDENTITY.serial, **LIMITS._asdict()}


def test_membership_reads_as_the_document_says() -> None:
    join = read("JOIN", GOLDEN["join"])
    assert (join["ring_sequence"], join["alive"], join["fails"]) == (JOIN.ring_sequence, 2, 1)
    numbers = tuple(int.from_bytes(GOLDEN["join"][at : at + 4], "big") for at in range(56, 68, 4))
    assert numbers == JOIN.alive + JOIN.fail_set
    beacon = read("BEACON", GOLDEN["beacon"])
    assert (beacon["ring"], beacon["members"], beacon["heard"], beacon["put_off"]) == (OLD_ID, 3, 2, 1)
    assert (beacon["number"], beacon["interval_ms"]) == (BEACON.number, BEACON.interval_ms)
    numbers = tuple(int.from_bytes(GOLDEN["beacon"][at : at + 4], "big") for at in range(78, 102, 4))
    assert numbers == BEACON.members + BEACON.heard + BEACON.put_off
    assert read("LEAVE", GOLDEN["leave"])["ring"] == OLD_ID
    assert read("WAKE", GOLDEN["wake"]) == {"ring": OLD_ID}


def test_refuse_reads_as_the_document_says() -> None:
    values = read("REFUSE", GOLDEN["refuse"])
    assert (values["target"], values["target_incarnation"]) == (REFUSE.target, REFUSE.target_incarnation)
    assert values["members"] == REFUSE.members
    assert read("Identity", GOLDEN["refuse"], 30) == {"incarnation": 0, "serial": 0, **LIMITS._asdict()}


def test_acknowledgement_challenge_and_response_read_as_the_document_says() -> None:
    assert read("ACKNOWLEDGEMENT", GOLDEN["acknowledgement"]) == {**ACKNOWLEDGEMENT._asdict(), "ring": OLD_ID}
    assert read("CHALLENGE", GOLDEN["challenge"]) == CHALLENGE._asdict()
    assert read("RESPONSE", GOLDEN["response"]) == RESPONSE._asdict()


@pytest.mark.parametrize(
    ("name", "first", "count", "base"), [("commit", 0, 2, 50), ("commit part 1", 0, 1, 50), ("commit part 2", 1, 1, 50)]
)
def test_commit_reads_as_the_document_says(name: str, first: int, count: int, base: int) -> None:
    golden = GOLDEN[name]
    values = read("COMMIT", golden)
    assert values == {"destination": 8, "ring": NEW_ID, "hop": HOP, "members": 2, "first": first, "count": count}
    for entry in ENTRIES[first : first + count]:
        written = read("Entry", golden, base)
        assert (written["node"], written["incarnation"]) == (entry.node, entry.incarnation)
        assert written["filled"] == entry.filled
        assert written["old_ring"] == (OLD_ID if entry.filled else RingId(0, 0, 0))
        assert (written["aru"], written["high_delivered"]) == (entry.aru, entry.high_delivered)
        assert written["count"] == len(entry.obligations)
        base += fixed_size("Entry")
        owed = [int.from_bytes(golden[at : at + 4], "big") for at in range(base, base + 4 * len(entry.obligations), 4)]
        assert tuple(owed) == entry.obligations
        base += 4 * len(owed)
    assert base + TRAILER_SIZE == len(golden)


def test_every_reason_in_the_code_is_in_the_document() -> None:
    core = Path(__file__).parents[2] / "ringproto" / "_core"
    source = "".join((core / "wire" / name).read_text(encoding="utf-8") for name in ("regular.py", "membership.py"))
    reasons = set(re.findall(r'Malformed\("(\w+)"\)', source))
    assert reasons
    listed = set(re.findall(r"^\| (\w+) \| [^|]+ \|$", DOCUMENT.split("## What is dropped")[1], re.MULTILINE))
    assert listed - {"reason"} == reasons


def test_every_other_drop_that_is_counted_is_in_the_document() -> None:
    core = Path(__file__).parents[2] / "ringproto" / "_core"
    source = "".join(path.read_text(encoding="utf-8") for path in core.rglob("*.py"))
    reasons = set(re.findall(r'"dropped_(\w+)"', source))
    assert reasons
    for name in reasons:
        assert f"`{name}`" in DOCUMENT.split("## What is dropped")[1]


def test_transports_read_claims_where_datagrams_have_them() -> None:
    """The transports know this much of the format, and may not import it."""
    for name, datagram in GOLDEN.items():
        claim = claim_of(datagram[:CLAIM_HEAD_SIZE])
        assert claim is not None, name
        assert (claim.node, claim.cluster) == (NODE, CLUSTER), name
        assert claim.is_sender == (datagram[1] != Kind.DATA), name
