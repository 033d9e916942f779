"""The driver that is a task of trio: it waits for datagrams until the next deadline, and does much at each wake-up."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from ringproto._core import Processor
from ringproto.driver import Driver
from ringproto.transports import Transport

__all__ = ["TrioDriver"]

_LOOK_S = 0.0005
"""How long to look for datagrams when a timer is overdue."""


class TrioDriver(Driver):
    """Drives the core as a task, by trio's clock. While the program keeps trio's loop busy, nothing is driven."""

    def __init__(
        self, transport: Transport, clock: Callable[[], float], processor: Processor, *, unblocks: bool
    ) -> None:
        super().__init__(transport, clock, processor, unblocks=unblocks)
        self._scope = trio.CancelScope()
        # The wait for datagrams, while it waits.
        self._waiting: trio.CancelScope | None = None

    def stop(self) -> None:
        self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _drive(self) -> None:
        with self._scope:
            try:
                await self._turn()
            finally:
                self._waiting = None

    @trio.lowlevel.enable_ki_protection
    async def _turn(self) -> None:
        processor, transport = self._processor, self._transport
        self.settle()
        while True:
            await self._flush()
            if processor.left:
                return
            # The scope is for the wait alone: neither a deadline nor a wake-up may cut a send short.
            with trio.CancelScope(deadline=self._next_wake()) as scope:
                self._waiting = scope
                while True:
                    batch = await transport.receive()
                    self._waiting = None
                    self._feed(batch)
                    self.settle()
                    if scope.cancel_called:
                        break
                    scope.deadline = math.inf
                    await self._flush()
                    if processor.left:
                        break
                    scope.deadline = self._next_wake()
                    self._waiting = scope
            self._waiting = None
            self._feed([])
            self.settle()

    def _next_wake(self) -> float:
        """When to stop waiting for datagrams. What has arrived already is read first, however late it is: a processor
        that was away must not judge others by datagrams that wait in its own socket."""
        return max(self._processor.next_timeout, self._clock() + _LOOK_S)

    async def _flush(self) -> None:
        while self._processor.has_transmits:
            await self._transport.send(self._processor.take_transmits())

    def _nudge(self) -> None:
        processor, waiting = self._processor, self._waiting
        if waiting is not None:
            if processor.has_transmits or processor.left:
                waiting.cancel()
            elif processor.next_timeout < waiting.deadline:
                waiting.deadline = processor.next_timeout
