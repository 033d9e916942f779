"""One processor's share of the records: what is to be sent, what is on its way, what was delivered.

Records are sent at a steady pace, HIGH and LOW by a task each, so that neither waits for the other. A record that
``send`` has accepted is on its way until its own processor delivers it. A processor that takes over another state finds
there what the main line has: those of its delivered records that it lacks (they were delivered only among processors
that were cut off) are sent again, so that every record accepted by a living processor is in the end in every
state, once. A processor that comes back after a crash finds in the state which of its records are there already, and
sends the others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from ringproto.cli.demo.records import Record
from ringproto.cli.demo.store import Store

__all__ = ["HIGH_EVERY", "Feed", "read_payload"]

HIGH_EVERY = 5
"""Every so many records one is HIGH."""

_TICK_S = 0.01


def read_payload(payload: bytes) -> tuple[str, bytes, bytes]:
    """Message id, key and value of one record's message.

    Raises:
        ValueError: the payload is not what :class:`Feed` sends.
    """
    head, separator, rest = payload.partition(b"|")
    key, tab, value = rest.partition(b"\t")
    if not separator or not tab:
        raise ValueError("the payload is not a record")
    return head.decode("ascii"), key, value


class Feed:
    """The share of one process."""

    def __init__(self, node: int, life: int, share: Sequence[Record], seconds: float, allowed: float = 1.0) -> None:
        self._node = node
        self._life = life
        self._share = share
        self._seconds = seconds
        self._allowed = allowed
        self._queues: dict[str, deque[Record]] = {"h": deque(), "l": deque()}
        self._held: dict[str, deque[Record]] = {"h": deque(), "l": deque()}
        self._again: dict[str, deque[Record]] = {"h": deque(), "l": deque()}
        self._total = {"h": 0, "l": 0}
        self._on_way: dict[str, tuple[str, Record, float]] = {}
        self._delivered: dict[bytes, tuple[str, Record]] = {}
        self._more = {"h": trio.Event(), "l": trio.Event()}
        self.accepted = {"h": 0, "l": 0}
        self.begun = False
        self.sent_again = 0
        """Records sent once more because a state that was taken over lacked them."""

    @property
    def idle(self) -> bool:
        """Whether everything that may be sent was sent and delivered here."""
        return self.begun and not (self._on_way or any(self._queues.values()) or any(self._again.values()))

    @property
    def finished(self) -> bool:
        """Whether the whole share was sent and delivered here."""
        return self.idle and not any(self._held.values())

    @property
    def waiting(self) -> int:
        """Records that were not yet accepted."""
        return sum(len(queue) for queues in (self._queues, self._held, self._again) for queue in queues.values())

    def begin(self, store: Store) -> None:
        """Queue the records of the share that the state lacks; they are then sent in ``seconds``, evenly."""
        self.begun = True
        for index, record in enumerate(self._share):
            if record.key not in store.entries:
                self._held["l" if index % HIGH_EVERY else "h"].append(record)
        self._total = {priority: len(held) for priority, held in self._held.items()}
        self.allow(self._allowed)

    def allow(self, part: float) -> None:
        """So great a part of the share may be sent; the rest is held. What is allowed only grows."""
        self._allowed = max(part, self._allowed)
        for priority, held in self._held.items():
            kept = self._total[priority] - math.floor(self._allowed * self._total[priority])
            while len(held) > kept:
                self._queues[priority].append(held.popleft())
            self._more[priority].set()

    def state_taken_over(self, store: Store) -> None:
        """Queue again what was delivered here and is not in the state that came in its place."""
        for key, (priority, record) in list(self._delivered.items()):
            if key not in store.entries:
                del self._delivered[key]
                self._again[priority].append(record)
                self.sent_again += 1
                self._more[priority].set()

    def own_delivered(self, mid: str) -> float | None:
        """An own message was delivered: the seconds since it was sent, or ``None`` if this process did not send it."""
        found = self._on_way.pop(mid, None)
        if found is None:
            return None
        priority, record, sent_s = found
        self._delivered[record.key] = (priority, record)
        return trio.current_time() - sent_s

    async def run(self, priority: str, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send the records of one priority (``"h"`` or ``"l"``) as they become due, until cancelled.

        What is sent again was due long ago and goes first. A cancelled ``send`` has accepted nothing, so the record of
        that call counts as not sent.
        """
        queue, again = self._queues[priority], self._again[priority]
        start_s, sent = trio.current_time(), 0
        while True:
            if not queue and not again:
                self._more[priority] = trio.Event()
                await self._more[priority].wait()
                start_s, sent = trio.current_time(), 0
                continue
            due = (trio.current_time() - start_s) * self._total[priority] / self._seconds
            if sent > due and not again:
                await trio.sleep(_TICK_S)
                continue
            source = again or queue
            record = source.popleft()
            mid = f"{self._node}.{self._life}.{priority}{self.accepted[priority]}"
            self._on_way[mid] = (priority, record, trio.current_time())
            try:
                await send(b"%b|%b\t%b" % (mid.encode(), record.key, record.value))
            except BaseException:
                del self._on_way[mid]
                source.appendleft(record)
                raise
            self.accepted[priority] += 1
            sent += 1
