"""The three priorities: what the application has given and the ring has not taken yet.

A queue is bounded in messages and in bytes; it takes everything or says that it is full. The head of a queue may be
partly sent: ``cursor`` is how far. The cursor belongs to its own queue, so that a half-sent ``HIGH`` message never
keeps ``RECOVERY`` from being sent, and it goes back to the beginning when the configuration changes, so that a half-
sent message is begun again whole.
"""

from __future__ import annotations

from collections import deque

from ringproto._core.wire import CHUNK_SIZE
from ringproto.types import Guarantee


class SendQueue:
    """Messages of one priority, first in first out."""

    __slots__ = ("_bytes_max", "_items", "_max", "bytes", "cursor")

    def __init__(self, max_: int, bytes_max: int) -> None:
        self._items: deque[tuple[bytes, Guarantee]] = deque()
        self._max = max_
        self._bytes_max = bytes_max
        self.bytes = 0
        self.cursor = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, payload: bytes, guarantee: Guarantee) -> bool:
        """Accept a message, or return ``False`` with nothing changed because the queue is full."""
        if self._items and (len(self._items) >= self._max or self.bytes + len(payload) > self._bytes_max):
            return False
        self._items.append((payload, guarantee))
        self.bytes += len(payload)
        return True

    @property
    def waiting(self) -> int:
        """About how many bytes of packets it would fill."""
        return self.bytes - self.cursor + CHUNK_SIZE * len(self._items)

    def head(self) -> tuple[bytes, Guarantee]:
        return self._items[0]

    def pop(self) -> None:
        """The last byte of the head is in a packet."""
        payload, _ = self._items.popleft()
        self.bytes -= len(payload)
        self.cursor = 0

    def rewind(self) -> None:
        """Begin the head again."""
        self.cursor = 0

    def clear(self) -> None:
        self._items.clear()
        self.bytes = 0
        self.cursor = 0
