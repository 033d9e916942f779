"""The three priorities: what the application has given and the ring has not taken yet.

A queue is bounded in messages and in bytes; it takes everything or says that it is full. The head of a queue may be
partly sent: ``cursor`` is how far. The cursor belongs to its own queue, so that a half-sent ``HIGH`` message never
keeps ``RECOVERY`` from being sent, and it goes back to the beginning when the configuration changes, so that a half-
sent message is begun again whole.
"""

from __future__ import annotations

from ringproto._core.wire.regular import CHUNK_SIZE
from ringproto.types import Guarantee

_HEAD = CHUNK_SIZE  # the same as a number of C (send_queue.pxd)
_SENT_MAX = 256  # so many places of the lists, at least, are given back at once


class SendQueue:
    """Messages of one priority, first in first out."""

    __slots__ = ("_bytes_max", "_first", "_guarantees", "_max", "_payloads", "bytes", "cursor")

    def __init__(self, max_: int, bytes_max: int) -> None:
        # Lists with a beginning that moves on, and nothing made that the garbage collector looks at: a deque of pairs
        # costs more than all else that is done for a message here.
        self._payloads: list[bytes] = []
        self._guarantees: list[Guarantee] = []
        self._first = 0
        self._max = max_
        self._bytes_max = bytes_max
        self.bytes = 0
        self.cursor = 0

    def __len__(self) -> int:
        return len(self._payloads) - self._first

    def put(self, payload: bytes, guarantee: Guarantee) -> bool:
        """Accept a message, or return ``False`` with nothing changed because the queue is full."""
        count = len(self._payloads) - self._first
        if count and (count >= self._max or self.bytes + len(payload) > self._bytes_max):
            return False
        self._payloads.append(payload)
        self._guarantees.append(guarantee)
        self.bytes += len(payload)
        return True

    def waiting(self) -> int:
        """About how many bytes of packets it would fill."""
        return self.bytes - self.cursor + _HEAD * (len(self._payloads) - self._first)

    def head(self) -> bytes:
        """The payload that is sent next, or is being sent. There must be one."""
        return self._payloads[self._first]

    def guarantee(self) -> Guarantee:
        """That of the head."""
        return self._guarantees[self._first]

    def pop(self) -> None:
        """The last byte of the head is in a packet."""
        self.bytes -= len(self.head())
        self.cursor = 0
        self._payloads[self._first] = b""
        self._first += 1
        if self._first >= _SENT_MAX and self._first * 2 >= len(self._payloads):
            del self._payloads[: self._first]
            del self._guarantees[: self._first]
            self._first = 0

    def rewind(self) -> None:
        """Begin the head again."""
        self.cursor = 0

    def clear(self) -> None:
        """Forget everything."""
        self._payloads.clear()
        self._guarantees.clear()
        self._first = 0
        self.bytes = 0
        self.cursor = 0
