"""What a message of the suite looks like, and how its senders keep time.

Every payload begins with sixteen bytes, little endian: a word that names the round of measurement, the sender and the
number of the message, so that the words of one sender are consecutive; and when the message was due, in nanoseconds of
CLOCK_MONOTONIC, which all processes of a host share (0: it has no due time). What follows is filler.

    word    8 bits round, 8 bits sender, 48 bits number
"""

from __future__ import annotations

import struct

__all__ = ["HEADER", "HEADER_SIZE", "NUMBER_BITS", "PAUSE_NS", "due_count", "first_word", "sender_of"]

HEADER = struct.Struct("<QQ")
HEADER_SIZE = HEADER.size
NUMBER_BITS = 48
PAUSE_NS = 250_000
"""A sender that keeps time in the event loop of the system it measures rests at least so long between its batches.

At 90,000 messages a second one is due every 11 µs, sooner than the sender comes round: without the pause its process
would never sleep, and three such processes on two cores would wait for time slices of the scheduler. What comes late
by the pause is charged to the system, as all lateness is."""


def first_word(round_number: int, sender: int) -> int:
    """The word of a sender's message 0; that of message n is n more."""
    return (round_number % 256) << (NUMBER_BITS + 8) | sender << NUMBER_BITS


def sender_of(word: int) -> int:
    """The node that sent the message with this word."""
    return word >> NUMBER_BITS & 0xFF


def due_count(now_ns: int, first_ns: int, interval_ns: int, total: int) -> int:
    """How many messages of an open loop are due by ``now_ns``: message i is due at ``first_ns + i * interval_ns``."""
    if now_ns < first_ns:
        return 0
    return min(total, (now_ns - first_ns) // interval_ns + 1)
