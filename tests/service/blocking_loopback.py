"""The loopback network for drivers that are threads: the same queues and faults, under a lock, in real time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import trio

from ringproto.transports import LoopbackNetwork
from ringproto.transports.loopback import LoopbackTransport


class BlockingLoopbackNetwork(LoopbackNetwork):
    """Connects processors of one process that threads drive."""

    def __init__(self, **arguments: Any) -> None:
        self.changed = threading.Condition()
        super().__init__(**arguments)

    def open(self, node: int) -> BlockingLoopback:  # type: ignore[override]
        with self.changed:
            return BlockingLoopback(self, super().open(node))

    def crash(self, node: int) -> None:
        with self.changed:
            super().crash(node)

    def partition(self, *groups: Iterable[int]) -> None:
        with self.changed:
            super().partition(*groups)

    def cut(self, source: int, destination: int) -> None:
        with self.changed:
            super().cut(source, destination)

    def mend(self, source: int, destination: int) -> None:
        with self.changed:
            super().mend(source, destination)

    def heal(self) -> None:
        with self.changed:
            super().heal()


class BlockingLoopback:
    """One processor's end. Keeps the promises of ``BlockingTransport``; the others need no keeping here."""

    def __init__(self, network: BlockingLoopbackNetwork, inner: LoopbackTransport) -> None:
        self.node = inner.node
        self.datagram_size_max = inner.datagram_size_max
        self._changed = network.changed
        self._inner = inner
        self._interrupted = False
        self._closed = False

    def begin_blocking(self) -> None:
        self._check_open()

    def send_blocking(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        with self._changed:
            self._check_open()
            if self._inner._queue.connected:
                self._inner._put(transmits, time.monotonic())
            self._changed.notify_all()

    def receive_blocking(self, timeout_s: float) -> list[bytes]:
        queue = self._inner._queue
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                self._check_open()
                now = time.monotonic()
                if batch := queue.take(now):
                    self._inner._datagrams_received += len(batch)
                    self._inner._bytes_received += sum(map(len, batch))
                    return batch
                if self._interrupted or now >= deadline:
                    self._interrupted = False
                    return []
                until = min(queue.due(), deadline)
                self._changed.wait(None if until == math.inf else until - now)

    def interrupt(self) -> None:
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        self._check_open()
        raise AssertionError("a thread drives this one")

    async def receive(self) -> list[bytes]:
        self._check_open()
        raise AssertionError("a thread drives this one")

    async def aclose(self) -> None:
        with self._changed:
            self._closed = True
            self._inner._network._disconnect(self.node, self._inner._queue)
            self._changed.notify_all()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> dict[str, int]:
        return self._inner.statistics()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the transport is closed")
