"""The driver that is a thread beside trio: a program that keeps trio's loop busy keeps its place on the ring.

The thread and trio's thread share the core by a lock, which neither holds while it waits for anything but Python's own
lock (the GIL). A computation in Python lets that go each ``sys.getswitchinterval()``; so the thread asks for it once in
each pass, after its wait, and holds it while it reads, calls the core and sends.

The stream of events and the queues stay in the core, with their bounds: an application that is away takes no events,
so flow control slows the ring down as it does for any slow consumer. Trio's thread is woken once for all that came
since it last looked, and only if somebody there waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from ringproto._core import Processor
from ringproto._service.driver import Driver
from ringproto.transports import BlockingTransport

__all__ = ["ThreadDriver"]


class ThreadDriver(Driver):
    """Drives the core on a thread of its own, by a clock that does not need trio."""

    def __init__(
        self, transport: BlockingTransport, clock: Callable[[], float], processor: Processor, *, unblocks: bool
    ) -> None:
        super().__init__(transport, clock, processor, unblocks=unblocks)
        self._network = transport
        self._trio = trio.lowlevel.current_trio_token()
        # Under the lock: whether the thread was told to look before, whether trio's thread was; whether the thread is
        # to end.
        self._nudged = False
        self._called = False
        self._stopping = False

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
        self._network.interrupt()

    async def _drive(self) -> None:
        self._network.begin_blocking()
        # The thread ends within a bound once it is stopped, so it is waited for whatever is cancelled. The limiter is
        # its own: a program that uses up the threads of trio's must not keep its ring from starting.
        await trio.to_thread.run_sync(
            self._turn, thread_name=f"ringproto node {self.node}", limiter=trio.CapacityLimiter(1)
        )
        self.settle()

    def _turn(self) -> None:
        """The thread."""
        processor, network, reports = self._processor, self._network, self.reports
        batch: list[bytes] = []
        late_at = math.inf
        while True:
            with self._lock:
                self._nudged = False
                now = self._clock()  # with the lock: the core was told of no later time
                if now > late_at:
                    reports.woke_late(now - late_at + reports.late_s)
                if now >= reports.look_at:
                    reports.look(now)
                ready = processor.turn(batch, now)
                self._keep(ready)
                transmits = ready.transmits
                # A configuration was unblocked here; if a timer is overdue, what waits in the socket is read first.
                while processor.wants_turn and (now := self._clock()) < ready.next_timeout:
                    ready = processor.turn([], now)
                    self._keep(ready)
                    transmits += ready.transmits
                calls = not self._called and self._wanted_on_trio(bool(transmits))
                self._called = self._called or calls
                done = ready.left or self._stopping
                waits_until = ready.next_timeout
            # The token goes on before the application hears of anything.
            if transmits:
                network.send_blocking(transmits)
            if calls:
                self._trio.run_sync_soon(self._settle_when_called)
            if done:
                return
            now = self._clock()
            late_at = max(waits_until, now) + reports.late_s
            batch = network.receive_blocking(waits_until - now)

    def _wanted_on_trio(self, sent: bool) -> bool:
        """Whether trio's thread has something to do. A queue can only have room again when something was sent, or, on
        a ring of one, delivered."""
        came = self._events > 0
        if self._changes or self._notices or self.reports.speaks:
            return True
        return (self._events_wanted and came) or (self._room_wanted and (sent or came))

    @trio.lowlevel.enable_ki_protection
    def _settle_when_called(self) -> None:
        with self._lock:
            self._called = False
            # All who wait are woken below, and who still finds nothing says so again.
            if self._events > 0:
                self._events_wanted = False
        if not self.has_left:
            self.settle()

    def _turn_if_wanted(self) -> bool:
        """The thread alone takes turns, so that it sends in their order: it is told, once until it has looked."""
        with self._lock:
            nudges = not self._nudged and self._processor.wants_turn
            self._nudged = self._nudged or nudges
        if nudges:
            self._network.interrupt()
        return False
