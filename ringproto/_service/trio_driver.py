"""The driver that is a task of trio: it waits for datagrams until the next deadline, and does much at each wake-up.

What a hop of the token costs is mostly what trio does for it, so the path of a hop has one wait and little else. The
deadline of that wait is moved only when the core's next timeout comes before it, or when it is near: with each token
the timeouts move on, and a deadline that is too early does no harm. What the network takes at once is sent in passing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import trio

from ringproto._core import Processor, Ready
from ringproto._service.driver import Driver
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
        # What the last turn said of the next one.
        self._next_timeout = -math.inf
        self._unfinished = False
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
                await self._loop()
            finally:
                self._waiting = None

    @trio.lowlevel.enable_ki_protection
    async def _loop(self) -> None:
        processor = self._processor
        self._take_turn(self._clock())
        while True:
            while self._rest is not None:
                transmits, self._rest = self._rest, None
                await self._transport.send(transmits)
            if processor.left:
                return
            now = self._clock()
            if self._unfinished or (processor.wants_turn and now < self._next_timeout):
                self._take_turn(now)
                continue
            # The scope is for the wait for datagrams alone: neither a deadline nor a wake-up may cut a send short.
            with trio.CancelScope(deadline=self._next_deadline(now)) as scope:
                await self._take_datagrams(scope)
            self._waiting = None
            if self._failed is not None:
                raise self._failed
            if self._rest is None and not (self._unfinished or processor.left):
                # The wait was ended by its deadline.
                now = self._clock()
                self._look(now)
                self._take_turn(now)

    def _take_turn(self, now: float) -> None:
        """A turn without datagrams: what it sends is for a call that may wait, and the application is told first."""
        ready = self._processor.turn([], now)
        self._note(ready)
        self._keep(ready)
        self._rest = ready.transmits or None
        self.settle()

    def _note(self, ready: Ready) -> None:
        self._unfinished = ready.unfinished
        self._next_timeout = ready.next_timeout

    @trio.lowlevel.enable_ki_protection
    async def _take_datagrams(self, scope: trio.CancelScope) -> None:
        """Until the scope is cancelled, the processor has left, or something has to wait to be sent."""
        processor, receive, clock = self._processor, self._transport.receive, self._clock
        turn = processor.turn
        while True:
            self._waiting = scope
            batch = await receive()
            self._waiting = None
            now = clock()
            ready = turn(batch, now)
            told = False
            while True:
                # The token goes on before the application hears of anything.
                if ready.transmits:
                    self._send_now(ready.transmits)
                self._events = events = ready.events
                if ready.changes or ready.notices:
                    self._keep(ready)
                    told = True
                if ready.unfinished and self._rest is None:
                    ready = turn([], clock())
                    continue
                if now >= self._near and self._look(now):
                    told = True
                if told or self._room_wanted or (events and self._events_wanted):
                    told = False
                    self.settle()
                    if self._rest is None and processor.wants_turn:
                        asked_at = clock()
                        if asked_at < ready.next_timeout:  # as in _turn_if_wanted
                            ready = turn([], asked_at)
                            continue
                break
            self._next_timeout = next_timeout = ready.next_timeout
            if self._rest is not None or ready.left:
                self._unfinished = ready.unfinished
                return
            if now >= self._near or next_timeout < self._deadline:
                scope.deadline = self._next_deadline(now)

    def _next_deadline(self, now: float) -> float:
        self._deadline = deadline = max(self._next_timeout, now + _LOOK_S)
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

    def _send_now(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Send what can be sent without waiting; the rest is for a call that waits, after what that has already."""
        if self._eager is None or self._rest is not None:
            self._rest = [*(self._rest or ()), *transmits]
        elif not self._eager.send_nowait(transmits):
            self._rest = ()

    def _turn_if_wanted(self) -> bool:
        """In passing, without waking the loop, while that waits for datagrams and may go on waiting."""
        waiting, processor = self._waiting, self._processor
        if waiting is None or not processor.wants_turn:
            return False  # the loop is in the middle of something, and looks itself; or nothing is wanted
        if self._rest is not None or self._unfinished or self._failed is not None:
            return False  # the loop was woken, and does not run yet
        now = self._clock()
        if now >= self._next_timeout:
            # What waits in the socket is read before others are judged. The loop wakes now, by its deadline.
            return False
        ready = processor.turn([], now)
        self._note(ready)
        self._keep(ready)
        if ready.transmits:
            try:
                self._send_now(ready.transmits)
            except Exception as error:
                self._failed = error
        if self._rest is not None or ready.unfinished or ready.left or self._failed is not None:
            waiting.cancel()
        elif ready.next_timeout < self._deadline:
            self._deadline = waiting.deadline = ready.next_timeout
            self._late = self._deadline + self.reports.late_s
        return True
