"""The judge of a benchmark's runs: what it must find, and what it must not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bench.suite.checks import ReceiverLog, faults
from bench.suite.member import Received
from bench.suite.traffic import HEADER, due_count, first_word, sender_of

ROUND = 7


def words(sender: int, *numbers: int, round_number: int = ROUND) -> list[int]:
    return [first_word(round_number, sender) + number for number in numbers]


def log(*batches: tuple[int, list[int]], dues: dict[int, int] | None = None) -> ReceiverLog:
    """A receiver's log: batches of (time, words); what has no due time has 0."""
    headers = b"".join(HEADER.pack(word, (dues or {}).get(word, 0)) for _, some in batches for word in some)
    return ReceiverLog(headers, b"".join(struct.pack("<QQ", time_ns, len(some)) for time_ns, some in batches))


def found(logs: dict[int, ReceiverLog], sent: dict[int, int], *, ordered: bool = True) -> dict[str, int]:
    return {name: count for name, count in faults(logs, sent, ROUND, ordered=ordered).as_dict().items() if count}


def test_a_word_names_round_sender_and_number() -> None:
    assert first_word(0x102, 3) + 5 == 0x02_03_000000000005
    assert sender_of(first_word(255, 9) + 123_456) == 9


def test_all_messages_once_and_in_one_order_are_no_fault() -> None:
    sequence = [*words(1, 0, 1), *words(2, 0), *words(1, 2), *words(2, 1)]
    logs = {1: log((10, sequence)), 2: log((11, sequence[:2]), (12, sequence[2:]))}
    assert not faults(logs, {1: 3, 2: 2}, ROUND, ordered=True)


def test_a_gap_is_a_loss_at_every_receiver_that_has_it() -> None:
    logs = {1: log((10, words(1, 0, 1, 2))), 2: log((10, words(1, 0, 2))), 3: log((10, words(1, 0, 2)))}
    assert found(logs, {1: 3}, ordered=False) == {"lost": 2}


def test_a_loss_at_the_end_is_seen_and_so_is_one_of_a_sender_that_was_never_heard() -> None:
    assert found({1: log((10, words(1, 0, 1)))}, {1: 3, 2: 4}) == {"lost": 5}


def test_a_message_that_comes_twice_is_extra() -> None:
    assert found({1: log((10, words(1, 0, 1, 1, 2)))}, {1: 3}) == {"extra": 1}


def test_a_message_that_was_not_sent_or_is_of_another_round_or_sender_is_extra() -> None:
    strange = [*words(1, 0, 1, 2), *words(1, 3), *words(1, 0, round_number=ROUND + 1), *words(5, 0)]
    assert found({1: log((10, strange))}, {1: 3}) == {"extra": 3}


def test_a_sender_overtaken_by_itself_is_disordered() -> None:
    assert found({1: log((10, words(1, 0, 2, 1, 3)))}, {1: 4}) == {"disordered": 1}


def test_receivers_with_different_orders_are_a_fault_only_where_an_order_was_promised() -> None:
    first, second = words(1, 0), words(2, 0)
    logs = {1: log((10, first + second)), 2: log((10, second + first)), 3: log((10, first + second))}
    assert found(logs, {1: 1, 2: 1}) == {"orders_differ": 1}
    assert found(logs, {1: 1, 2: 1}, ordered=False) == {}


def test_deliveries_count_from_the_first_moment_to_before_the_last() -> None:
    one = log((10, words(1, 0, 1)), (20, words(1, 2)), (30, words(1, 3)))
    assert [one.delivered(*window) for window in ((10, 30), (11, 31), (0, 10), (31, 99))] == [3, 2, 0, 0]


def test_the_longest_silence_reaches_to_the_ends_of_the_window() -> None:
    one = log((10, words(1, 0)), (13, words(1, 1)), (40, words(1, 2)))
    assert one.longest_silence(10, 20) == 7
    assert one.longest_silence(0, 14) == 10
    assert one.longest_silence(20, 30) == 10


def test_latency_counts_from_when_a_message_was_due() -> None:
    """A sender that stood still sends late, and its messages have waited since they were due."""
    sequence = words(1, 0, 1, 2)
    dues = dict(zip(sequence, (100, 200, 300), strict=True))
    one = log((350, sequence), dues=dues)
    assert one.latencies(0, 1000) == [250, 150, 50]
    assert one.latencies(200, 300) == [150], "messages count by their due time, whenever they came"


def test_latency_of_one_sender_leaves_out_the_others() -> None:
    both = [*words(1, 0), *words(2, 0)]
    one = log((50, both), dues=dict(zip(both, (10, 20), strict=True)))
    assert one.latencies(0, 100, only=2) == [30]


def test_an_open_loop_owes_what_is_due_and_no_more_than_all() -> None:
    assert [due_count(now, 100, 10, 5) for now in (99, 100, 109, 110, 149, 1000)] == [0, 1, 1, 2, 5, 5]


def test_a_log_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="2 messages"):
        ReceiverLog(HEADER.pack(1, 2), struct.pack("<QQ", 10, 2))


def test_what_a_member_wrote_is_what_is_read_and_then_gone(tmp_path: Path) -> None:
    member = Received()
    member.add(10, HEADER.pack(*words(1, 0), 3) + HEADER.pack(*words(1, 1), 4), 2)
    member.add(20, HEADER.pack(*words(1, 2), 5), 1)
    member.write(str(tmp_path / "log"))
    read = ReceiverLog.read(str(tmp_path / "log"))
    assert (list(read.words), read.latencies(0, 9)) == (words(1, 0, 1, 2), [7, 6, 15])
    assert list(tmp_path.iterdir()) == []
