"""The driver that is a task of trio: it waits for datagrams until the next deadline, and does much at each wake-up.

What a hop of the token costs is mostly what trio does for it, so the path of a hop has one wait and little else. The
deadline of that wait is moved only when the core's next timeout comes before it, or when it is near: with each token
the timeouts move on, and a deadline that is too early does no harm. What the network takes at once is sent in passing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import trio

from ringproto._core import Processor
from ringproto.driver import Driver
from ringproto.transports import EagerTransport, Transport

__all__ = ["TrioDriver"]

_LOOK_S = 0.0005
"""How long to look for datagrams when a timer is overdue. What has arrived already is read first, however late it is: a
processor that was away must not judge others by datagrams that wait in its own socket."""
_NEAR = 0.25
"""The deadline is moved on when no more than this part of its time is left."""


class TrioDriver(Driver):
    """Drives the core as a task, by trio's clock. While the program keeps trio's loop busy, nothing is driven."""

    def __init__(
        self, transport: Transport, clock: Callable[[], float], processor: Processor, *, unblocks: bool
    ) -> None:
        super().__init__(transport, clock, processor, unblocks=unblocks)
        self._scope = trio.CancelScope()
        self._eager = transport if isinstance(transport, EagerTransport) else None
        # The wait for datagrams, while it waits; until when; when that deadline is so near that it is moved on; and
        # when it is so long past that this process did not run.
        self._waiting: trio.CancelScope | None = None
        self._deadline = 0.0
        self._near = 0.0
        self._late = math.inf
        # What has to be sent by a call that may wait; nothing more, if the transport keeps the rest itself.
        self._rest: Sequence[tuple[int, bytes]] | None = None
        # What the transport raised while somebody who called the core had it send: the loop raises it.
        self._failed: Exception | None = None

    def stop(self) -> None:
        self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _drive(self) -> None:
        with self._scope:
            try:
                self.settle()
                await self._turn()
            finally:
                self._waiting = None

    @trio.lowlevel.enable_ki_protection
    async def _turn(self) -> None:
        while True:
            await self._send_waiting()
            if self._processor.left:
                return
            if self._processor.goes_on:
                self._rest = self._processor.turn([], self._clock()) or None
                continue
            # The scope is for the wait for datagrams alone: neither a deadline nor a wake-up may cut a send short.
            with trio.CancelScope(deadline=self._next_deadline(self._clock())) as scope:
                await self._take_datagrams(scope)
            self._waiting = None
            if self._failed is not None:
                raise self._failed
            if self._rest is None:
                # The wait was ended by its deadline, or by somebody who called the core.
                now = self._clock()
                self._look(now)
                self._rest = self._processor.turn([], now) or None
                self.settle()

    @trio.lowlevel.enable_ki_protection
    async def _take_datagrams(self, scope: trio.CancelScope) -> None:
        """Until the scope is cancelled, the processor has left, or something has to wait to be sent."""
        processor, receive, clock = self._processor, self._transport.receive, self._clock
        while True:
            self._waiting = scope
            batch = await receive()
            self._waiting = None
            now = clock()
            # The token goes on before the application hears of anything.
            transmits = processor.turn(batch, now)
            if transmits:
                self._send_now(transmits)
            changed = False
            if not processor.calm:
                while processor.goes_on and self._rest is None:
                    self._send_now(processor.turn([], now))
                changed = processor.has_changes or processor.has_notices
            if now >= self._near:
                changed = self._look(now) or changed
            if changed or self._room_wanted or (self._events_wanted and processor.pending_events):
                self.settle()
                if processor.has_transmits and self._rest is None:
                    self._send_now(processor.take_transmits())
            if self._rest is not None or processor.left:
                return
            if now >= self._near or processor.next_timeout < self._deadline:
                scope.deadline = self._next_deadline(now)

    def _next_deadline(self, now: float) -> float:
        self._deadline = deadline = max(self._processor.next_timeout, now + _LOOK_S)
        self._near = deadline - _NEAR * (deadline - now)
        self._late = deadline + self.reports.late_s
        return deadline

    def _look(self, now: float) -> bool:
        """The deadline is near or past: see how this process keeps up. Whether there is something to say."""
        reports = self.reports
        if now > self._late:
            reports.woke_late(now - self._deadline)
        if now >= reports.look_at:
            reports.look(now)
        return reports.speaks

    async def _send_waiting(self) -> None:
        """Send everything, and wait for that if the network takes no more."""
        while self._rest is not None or self._processor.has_transmits:
            transmits, self._rest = self._rest, None
            await self._transport.send(self._processor.take_transmits() if transmits is None else transmits)

    def _send_now(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Send what can be sent without waiting; the rest is for :meth:`_send_waiting`."""
        if self._eager is None:
            self._rest = transmits
        elif not self._eager.send_nowait(transmits):
            self._rest = ()

    def _nudge(self) -> None:
        waiting = self._waiting
        if waiting is None:
            return  # the loop is in the middle of something, and looks itself
        processor = self._processor
        if self._eager is not None and self._rest is None and processor.has_transmits:
            # In passing, without waking the loop.
            try:
                self._send_now(processor.take_transmits())
            except Exception as error:
                self._failed = error
                waiting.cancel()
        if processor.has_transmits or processor.goes_on or processor.left or self._rest is not None:
            waiting.cancel()
        elif processor.next_timeout < self._deadline:
            self._deadline = waiting.deadline = processor.next_timeout
            self._late = self._deadline + self.reports.late_s
