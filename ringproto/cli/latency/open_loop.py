"""An open loop: messages that are due at times fixed beforehand, whatever became of those before them.

The latency of a message counts from when it was due. A ring that stalls for a second is so charged for every message
that was due in that second, and not only for the one that happened to be under way. The due time travels in the
payload; the clock is CLOCK_MONOTONIC, which all processes of one host share.
"""

from __future__ import annotations

import struct
import sys
import time
from array import array
from typing import NamedTuple

import trio

from ringproto import Sender
from ringproto.cli.latency.timerfd import Alarm

__all__ = ["HEADER", "HEADER_SIZE", "WORD_OF_A_SENDER", "Schedule", "send_by_the_clock", "words_of"]

HEADER = struct.Struct("!QII")
"""What a payload begins with: the due time in nanoseconds, the sender, and the number of the message."""
HEADER_SIZE = HEADER.size
"""Bytes that every payload needs."""
_WORD_AT = 8
WORD_OF_A_SENDER = 2**32
"""Sender and number of a message make one word, so that those of one sender follow each other; this is the word of the
first message of node 1."""


def words_of(payloads: list[bytes]) -> array[int]:
    """The words of messages."""
    words = array("Q", b"".join([payload[_WORD_AT:HEADER_SIZE] for payload in payloads]))
    if sys.byteorder == "little":
        words.byteswap()
    return words


class Schedule(NamedTuple):
    """When the messages of one processor are due. The processors take turns, so that those of all are spread evenly."""

    node: int
    nodes: list[int]
    rate: float
    """Messages a second, of all together."""
    start_ns: int
    span_s: float

    @property
    def interval_ns(self) -> float:
        """Nanoseconds from one message of this processor to the next."""
        return 1e9 * len(self.nodes) / self.rate

    @property
    def first_ns(self) -> float:
        """When the first one is due."""
        return self.start_ns + self.interval_ns * self.nodes.index(self.node) / len(self.nodes)

    @property
    def total(self) -> int:
        """How many this processor sends."""
        return int(self.span_s * 1e9 / self.interval_ns)


async def send_by_the_clock(sender: Sender, schedule: Schedule, size: int, number: int, limit_s: float) -> int:
    """Send each message when it is due, at once if it is late; returns how many were accepted.

    Args:
        sender: where to send.
        schedule: when.
        size: bytes of a payload.
        number: the number of the first message.
        limit_s: seconds after the start at which what is left is given up.
    """
    first_ns, interval_ns, total = schedule.first_ns, schedule.interval_ns, schedule.total
    padding = bytes(size - HEADER_SIZE)
    sent = 0
    give_up = trio.current_time() + (schedule.start_ns - time.monotonic_ns()) / 1e9 + limit_s
    with trio.CancelScope(deadline=give_up), Alarm() as alarm:
        while sent < total:
            due_ns = round(first_ns + sent * interval_ns)
            if due_ns > time.monotonic_ns():
                await alarm.until(due_ns)
            due_now = min(total, int((time.monotonic_ns() - first_ns) / interval_ns) + 1)
            while sent < due_now:
                payload = HEADER.pack(round(first_ns + sent * interval_ns), schedule.node, number + sent) + padding
                try:
                    sender.send_nowait(payload)
                except trio.WouldBlock:
                    await sender.send(payload)
                sent += 1
            await trio.lowlevel.checkpoint()
    return sent
