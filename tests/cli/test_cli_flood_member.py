"""What a member of ``ringproto latency --flood`` makes of the messages that it is given."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ringproto import Guarantee, Message, Priority, RingId
from ringproto.cli.latency.flood_worker import FloodMember
from ringproto.cli.latency.open_loop import HEADER, WORD_OF_A_SENDER, words_of

RING = RingId(4, 1, 99)
LOW, HIGH = Priority.LOW, Priority.HIGH


def message(sender: int, number: int, priority: Priority = LOW, due_ns: int = 10**9) -> Message:
    payload = HEADER.pack(due_ns, sender, number) + b"filler"
    return Message(payload, sender, priority, Guarantee.AGREED, RING, 1)


class Found(FloodMember):
    """A member without a ring."""

    def __init__(self) -> None:
        setup: dict[str, Any] = {"node": 1, "nodes": [1, 2, 2**32 - 1]}
        super().__init__(None, setup)  # type: ignore[arg-type]  # it says nothing here
        self._from_ns, self._until_ns = 0, 2 * 10**9

    def low(self) -> dict[int, int]:
        return {node: received[LOW] for node, received in self._received.items() if received[LOW]}

    def high(self) -> dict[int, int]:
        return {node: received[HIGH] for node, received in self._received.items() if received[HIGH]}

    def counted(self) -> int:
        return self._low

    def latencies(self) -> int:
        return int(self._histogram.get_total_count())


def test_word_is_sender_and_number() -> None:
    payloads = [message(sender, number).payload for sender, number in ((1, 0), (2**32 - 1, 2**32 - 1))]
    assert list(words_of(payloads)) == [WORD_OF_A_SENDER, 2**64 - 1]


def test_all_in_order_is_counted_and_nothing_is_disordered() -> None:
    source = random.Random(1)
    member = Found()
    next_number = {(node, priority): 0 for node in (1, 2, 2**32 - 1) for priority in (LOW, HIGH)}
    for _ in range(200):
        batch = []
        for _ in range(source.randrange(1, 6)):
            key = source.choice(list(next_number))
            for _ in range(source.choice([1, 2, 50])):
                batch.append(message(key[0], next_number[key], key[1]))
                next_number[key] += 1
        member.take(batch, 10**9)
    assert member.disordered == 0
    assert member.low() == {node: count for (node, priority), count in next_number.items() if priority is LOW}
    assert member.high() == {node: count for (node, priority), count in next_number.items() if priority is HIGH}
    assert member.counted() == sum(member.low().values()) and member.latencies() == sum(member.high().values())


@pytest.mark.parametrize("priority", [LOW, HIGH])
@pytest.mark.parametrize(
    ("numbers", "disordered"),
    [([0, 1, 3], 1), ([1, 0, 2], 2), ([0, 0, 2], 1), ([0, 1, 1], 1), ([5], 1), ([0, 2, 1, 3], 2), ([0, 1, 2], 0)],
)
def test_gap_double_and_swap_are_disorder(priority: Priority, numbers: list[int], disordered: int) -> None:
    member = Found()
    member.take([message(2, number, priority) for number in numbers], 10**9)
    found = member.low() if priority is LOW else member.high()
    assert (found, member.disordered) == ({2: len(numbers)}, disordered)


def test_only_the_measured_time_counts() -> None:
    member = Found()
    member.take([message(1, 0)], 3 * 10**9)
    assert member.counted() == 0 and member.low() == {1: 1}
