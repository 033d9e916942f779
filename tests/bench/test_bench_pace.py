"""Senders that keep time: all that is due is sent, once and in order, and the sender itself is no load of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio

from bench.suite.member import RunOrder
from bench.suite.ring_member import RingMember
from bench.suite.traffic import HEADER, PAUSE_NS, first_word


class FakeRing:
    """Takes what is sent, and keeps when."""

    node = 2

    def __init__(self) -> None:
        self.high = self
        self.batches: list[tuple[int, Sequence[bytes]]] = []

    async def send_batch(self, payloads: Sequence[bytes]) -> None:
        self.batches.append((time.monotonic_ns(), payloads))
        await trio.lowlevel.checkpoint()


def paced(interval_ns: int, total: int) -> tuple[FakeRing, int]:
    """What a sender gave its ring, and when its first message was due."""
    ring = FakeRing()
    values = {"kind": RunOrder.PACED, "round": 7, "size": 64, "sending": 1, "interval_ns": interval_ns, "total": total}
    run = RunOrder({**values, "first_ns": 0})
    run.start({"start_ns": time.monotonic_ns() + 1_000_000, "measure_ns": 0, "end_ns": 0})

    async def pace() -> int:
        return await RingMember(cast(Any, ring), "")._pace(run)

    assert trio.run(pace) == total
    return ring, run.first_ns


@pytest.mark.parametrize("interval_ns", [10_000, 1_000_000])
def test_a_paced_sender_sends_each_message_once_in_order_and_never_before_it_is_due(interval_ns: int) -> None:
    ring, first_ns = paced(interval_ns, 50_000_000 // interval_ns)
    headers = [(time_ns, HEADER.unpack_from(payload)) for time_ns, batch in ring.batches for payload in batch]
    word = first_word(7, ring.node)
    assert [header for _, header in headers] == [
        (word + i, first_ns + i * interval_ns) for i in range(50_000_000 // interval_ns)
    ]
    assert all(time_ns >= due_ns for time_ns, (_, due_ns) in headers)


def test_a_paced_sender_rests_between_its_batches_however_many_messages_are_due() -> None:
    ring, first_ns = paced(10_000, 5_000)
    lasted_ns = ring.batches[-1][0] - first_ns
    assert len(ring.batches) <= lasted_ns // PAUSE_NS + 2
