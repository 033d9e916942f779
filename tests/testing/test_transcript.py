"""Audit tuples become records; records survive the way through a file; torn and foreign lines are told apart."""

from __future__ import annotations

from typing import Any

import pytest

from ringproto.events import Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge.transcript import (
    Delv,
    Record,
    Send,
    Start,
    Stop,
    Submit,
    Transcript,
    Wait,
    describe,
    identify,
    record_from_audit,
    record_from_line,
    record_to_line,
)
from ringproto.types import Guarantee, Priority, RingId

RING = RingId(2**63 + 5, 2**32 - 1, 2**64 - 1)
PAYLOAD = b"1.77.3|" + b"x" * 5000

AUDIT: list[tuple[Any, ...]] = [
    ("START", 1, 77),
    ("CONF", RegularConfiguration(RingId(1, 1, 9), (1,), (1,), (), False)),
    ("CONF", TransitionalConfiguration(RingId(1, 1, 9), (1,))),
    ("ABORT", RingId(1, 1, 9)),
    ("CONF", RegularConfiguration(RING, (1, 2), (2,), (), True)),
    ("WAIT", frozenset({2, 1})),
    ("SUBMIT", Priority.LOW, Guarantee.SAFE, PAYLOAD),
    ("UNB_SEND", RING, 1),
    ("UNB_DELV", 1, RING, 1),
    ("UNB_DELV", 2, RING, 2),
    ("DONE", RecoveryComplete(RING, 2, (1, 2))),
    ("SEND", Priority.LOW, Guarantee.SAFE, RING, 3, PAYLOAD),
    ("TOKEN", RING, 17, 4, 3, 1, 2, 0),
    ("DELV", Message(PAYLOAD, 1, Priority.LOW, Guarantee.SAFE, RING, 3)),
    ("FREE", RING, 3),
    ("STOP", "crash"),
]


def _lines() -> list[str]:
    return list(Transcript.from_audit(AUDIT).lines())


def test_each_audit_tuple_becomes_its_record() -> None:
    mid, digest = identify(PAYLOAD)
    records = Transcript.from_audit(AUDIT).records
    assert records[0] == Start(1, 77)
    assert records[5] == Wait((1, 2))
    assert records[6] == Submit(mid, Priority.LOW, Guarantee.SAFE, digest)
    assert records[11] == Send(mid, Priority.LOW, Guarantee.SAFE, RING, 3, digest)
    assert records[13] == Delv(mid, 1, Priority.LOW, Guarantee.SAFE, RING, 3, digest)
    assert records[15] == Stop("crash")
    assert len({type(record) for record in records}) == 14  # every kind there is


def test_mid_is_the_part_before_the_bar() -> None:
    assert identify(PAYLOAD)[0] == "1.77.3"
    assert identify(b"|rest")[0] == ""


def test_payload_without_a_bar_is_known_by_its_digest() -> None:
    long = b"y" * 100 + b"|"
    assert identify(long)[0] == "#" + identify(long)[1]
    assert identify(b"\xff\x00")[0] != identify(b"\xff\x01")[0]


def test_empty_payload_has_no_identity() -> None:
    assert identify(b"")[0] == ""


def test_one_changed_byte_changes_the_digest() -> None:
    assert identify(PAYLOAD)[1] != identify(PAYLOAD[:-1] + b"z")[1]
    assert len(bytes.fromhex(identify(PAYLOAD)[1])) == 8


def test_every_record_survives_the_way_through_a_line() -> None:
    for record in Transcript.from_audit(AUDIT).records:
        back = record_from_line(record_to_line(record))
        assert back == record
        assert type(back) is type(record)
        assert [type(value) for value in back] == [type(value) for value in record]


def test_transcript_survives_the_way_through_its_lines() -> None:
    transcript = Transcript.from_lines([line + "\n" for line in _lines()])
    assert transcript == Transcript.from_audit(AUDIT)
    assert (transcript.node, transcript.incarnation) == (1, 77)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_torn_last_line_is_left_out(cut: int) -> None:
    lines = _lines()[:-2]
    transcript = Transcript.from_lines([*lines[:-1], lines[-1][:-cut]])
    assert transcript.records == Transcript.from_audit(AUDIT).records[: len(lines) - 1]


def test_bad_line_before_the_last_raises_and_is_named() -> None:
    lines = _lines()
    lines[3] = lines[3][:-4]
    with pytest.raises(ValueError, match="line 4: not a line of a transcript"):
        Transcript.from_lines(lines)


@pytest.mark.parametrize(
    "line",
    ["", "7", "[]", '["NOPE",1]', '["START",1]', '["START",1,2,3]', '["FREE",[1,2],3]', '["SUBMIT","a",9,0,"b"]', "{}"],
)
def test_text_that_is_no_record_raises(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of a transcript"):
        record_from_line(line)


@pytest.mark.parametrize("entry", [(), ("NOPE", 1), ("CONF", 5), ("DONE", None)])
def test_tuple_that_no_processor_writes_raises(entry: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="audit entry"):
        record_from_audit(entry)


def test_log_that_lost_its_first_line_belongs_to_nobody() -> None:
    assert (Transcript([]).node, Transcript.from_lines(['["STA']).incarnation) == (0, 0)


def test_description_names_ring_members_and_mid() -> None:
    def text(number: int) -> str:
        record: Record = Transcript.from_audit(AUDIT).records[number]
        return describe(record)

    assert text(13).startswith("DELV mid=1.77.3 sender=1 LOW SAFE ring_id=9223372036854775813.4294967295.")
    assert text(4).endswith("members=1,2 joined=2 left=- primary=True")
