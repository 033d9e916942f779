"""The doors of the core for the rest of the service, whoever keeps the core going.

A *driver* owns one processor of the core and the transport that serves it. It gives the core datagrams and time, and
the network what the core wants sent, from the start until the processor has left. The rest of the service, on trio's
thread, calls the core through the doors here alone, and is told what came of it as a :class:`Listener`.

A loop on a thread of its own (``thread_driver.py``) shares the core by a lock, which is held around every call of the
core. A loop on trio's thread calls the core without it: what other threads may call only reads.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import trio

from ringproto._core import Batch, Notice, Processor, Ready, StreamChange
from ringproto._service.errors import (
    RingClosedError,
    service_error,
    with_whereabouts,
    without_cancellations,
    wrong_thread,
)
from ringproto._service.gate import Gate
from ringproto._service.reports import Reports
from ringproto.events import Event, RegularConfiguration
from ringproto.transports import Transport
from ringproto.types import Guarantee, Priority, RingId

__all__ = ["Driver", "Listener"]


class Listener(NamedTuple):
    """Who is told what happened, on trio's thread."""

    changed: Callable[[StreamChange], None]
    """A configuration or a completion came into the stream."""
    came: Callable[[], None]
    """Events wait in the stream."""
    ended: Callable[[BaseException | None], None]
    """The processor has left; the argument is why, or ``None`` if it left as it was asked to."""


class Driver(ABC):
    """One processor, and how the rest of the service uses it.

    Args:
        transport: the network.
        clock: the seconds that the core counts in.
        processor: the core; the driver's alone from now on.
        unblocks: whether every configuration is unblocked as soon as it comes.
    """

    def __init__(
        self, transport: Transport, clock: Callable[[], float], processor: Processor, *, unblocks: bool
    ) -> None:
        self.gates = [Gate() for _ in Priority]
        self.has_left = False
        """Whether the processor has left and everything that it says was sent."""
        self.left = trio.Event()
        """The same, to wait for."""
        self.thread = threading.get_ident()
        """The thread of the trio run that opened the ring. While the ring lives, a thread has no other trio run, so who
        calls from this thread calls from that run (or from its host loop, in trio's guest mode)."""
        self._processor = processor
        self._transport = transport
        self._clock = clock
        self._unblocks = unblocks
        self.reports = Reports(processor, transport, clock)
        """What the ring says to the log."""
        self._lock = threading.Lock()
        # What the turns said and was not passed on yet; with the lock.
        self._changes: list[StreamChange] = []
        self._notices: list[Notice] = []
        self._events = 0  # how many wait; below 0 if the first was taken before the first turn
        # Whether somebody on trio's thread found no events, or no room in a queue, and waits to be told.
        self._events_wanted = True
        self._room_wanted = False
        self._listener: Listener
        self._failure: BaseException | None = None

    # How the processor is

    @property
    def node(self) -> int:
        return self._processor.node

    @property
    @trio.lowlevel.enable_ki_protection
    def configuration(self) -> RegularConfiguration:
        """The last one that the core knows; its listener may not have heard of it yet."""
        with self._lock:
            return self._processor.configuration

    @property
    @trio.lowlevel.enable_ki_protection
    def waiting_for(self) -> frozenset[int]:
        with self._lock:
            return self._processor.waiting_for

    @property
    @trio.lowlevel.enable_ki_protection
    def complete(self) -> bool:
        with self._lock:
            return self._processor.complete

    @property
    def ring_sequence(self) -> int:
        return self._processor.ring_sequence

    @property
    def state(self) -> str:
        return self._processor.state

    @property
    def out(self) -> bool:
        """Whether the core is out of the ring; its last datagrams may still have to be sent."""
        return self._processor.left

    @trio.lowlevel.enable_ki_protection
    def statistics(self) -> dict[str, int | float]:
        with self._lock:
            values = self._processor.statistics()
        for priority in Priority:
            values[f"senders_waiting_{priority.name.lower()}"] = self.gates[priority].waiting
        for name, value in self._transport.statistics().items():
            values[f"transport_{name}"] = value
        values["log_failures"] = self.reports.failures
        return values

    # What the ends of the application call, on trio's thread. No KeyboardInterrupt comes while the core is at work.

    def check_thread(self) -> None:
        """Raises RuntimeError unless this is the ring's thread. Each public method that changes something calls it, or
        compares :attr:`thread` itself, before anything else; methods that only read may be called by any thread."""
        if threading.get_ident() != self.thread:
            raise wrong_thread()

    def check_payload(self, payload: object) -> None:
        """Raises TypeError or ValueError unless this can be sent."""
        self._processor.check_payload(payload)

    def check_batch(self, batch: Batch) -> None:
        """Raises ValueError unless all of it can be sent."""
        self._processor.check_batch(batch)

    @trio.lowlevel.enable_ki_protection
    def check_open(self) -> None:
        """Raises RingClosedError if the processor has left or is leaving."""
        with self._lock:
            if self.has_left or self._processor.leaving:
                raise _closed()

    @trio.lowlevel.enable_ki_protection
    def submit(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
        """Accept a message; ``False``, with nothing changed, when its queue is full.

        Raises:
            RingClosedError: the processor has left or is leaving.
            TypeError, ValueError: the payload cannot be sent.
        """
        with self._lock:
            if self.has_left or self._processor.leaving:
                raise _closed()
            if not self._processor.submit(payload, priority, guarantee):
                self._room_wanted = True
                return False  # nothing changed, so nobody need be told
        self.settle()
        return True

    @trio.lowlevel.enable_ki_protection
    def submit_batch(self, batch: Batch, first: int, priority: Priority, guarantee: Guarantee) -> int:
        """Accept messages from place ``first`` on until their queue is full, and return how many: one call of the core
        and one look at what came of it, however many they are.

        Raises:
            RingClosedError, TypeError, ValueError: as :meth:`submit`.
        """
        with self._lock:
            if self.has_left or self._processor.leaving:
                raise _closed()
            accepted = self._processor.submit_batch(batch, first, priority, guarantee)
            if first + accepted < len(batch):
                self._room_wanted = True
        if accepted:
            self.settle()
        return accepted

    @trio.lowlevel.enable_ki_protection
    def submit_recovery(self, ring_id: RingId, payload: bytes, guarantee: Guarantee) -> bool:
        """Accept a message of a recovery round; ``False``, with nothing changed, when the queue is full.

        Raises:
            RingClosedError: the processor has left.
            RingError: the round is over.
            TypeError, ValueError: the payload cannot be sent.
        """
        with self._lock:
            if self._processor.left:
                raise _closed()
            # A driver on another thread may know already that the round is over. Then the caller is cancelled, which is
            # how it learns of it, and has made no error.
            over = any(isinstance(change.event, RegularConfiguration) for change in self._changes)
            accepted = not over and self._processor.submit_recovery(ring_id, payload, guarantee)
            if not accepted:
                self._room_wanted = True
        if accepted or over:
            self.settle()
        return accepted

    @trio.lowlevel.enable_ki_protection
    def take_events(self, limit: int) -> list[Event]:
        """The oldest events, at most ``limit``; none if there are none."""
        with self._lock:
            events = self._processor.take_events(limit)
            self._events -= len(events)
            if not events:
                self._events_wanted = True
        if events:
            self.settle()
        return events

    @trio.lowlevel.enable_ki_protection
    def drop_events(self, limit: int) -> int:
        """Throw the events away that wait, ``limit`` at a time, and return how many there were. Settles nothing."""
        dropped = 0
        with self._lock:
            while events := self._processor.take_events(limit):
                dropped += len(events)
            self._events = 0
            self._events_wanted = True
        return dropped

    @trio.lowlevel.enable_ki_protection
    def unblock(self, ring_id: RingId) -> None:
        """The recovery messages of this round were all submitted."""
        with self._lock:
            self._processor.unblock(ring_id, self._clock())
        self.settle()

    @trio.lowlevel.enable_ki_protection
    def leave(self, *, drain: bool) -> None:
        """Begin to leave; see ``Processor.leave``."""
        with self._lock:
            self._processor.leave(self._clock(), drain=drain)
        self.settle()

    @trio.lowlevel.enable_ki_protection
    def settle(self) -> None:
        """After every call of the core: see that it gets the turn that it may want, and pass on what came of that."""
        listener = self._listener
        self._turn_if_wanted()
        while True:
            told = self._tell_changes()
            if self._events > 0:
                # Whoever still finds none says so again.
                self._events_wanted = False
                listener.came()
                told = True
            if self._room_wanted:
                # Whoever still finds no room says so again.
                self._room_wanted = False
                for gate in self.gates:
                    gate.retry()
            # Who was told may have called the core as well.
            if not (told and self._turn_if_wanted()):
                return

    def _tell_changes(self) -> bool:
        """Tell the listener, and the log, what changed. Whether something had."""
        reports = self.reports
        told = False
        if reports.held_due:
            reports.write_held()
        while self._changes or self._notices or reports.waiting:
            with self._lock:
                changes, self._changes = self._changes, []
                notices, self._notices = self._notices, []
                notices += reports.take()
            told = True
            for change in changes:
                self._listener.changed(change)
            reports.write(notices)
        return told

    def _keep(self, ready: Ready) -> None:
        """Keep what a turn said until it is passed on, with the lock held. The core may want another turn then."""
        self._events = ready.events
        self._notices += ready.notices
        self._changes += ready.changes
        for change in ready.changes:
            self.reports.changed(change)
            if self._unblocks and isinstance(change.event, RegularConfiguration):
                self._processor.unblock(change.event.ring_id, self._clock())

    # The loop

    def listen(self, listener: Listener) -> None:
        """Tell this one what happens. Call it first of all."""
        self._listener = listener

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Drive the core until the processor has left, or :meth:`stop`. What goes wrong is told to the listener.

        Shielded: leaving takes a few datagrams more after the caller was cancelled, and has a bound of its own.
        """
        try:
            with trio.CancelScope(shield=True):
                await self._drive()
        except BaseException as error:
            failure = without_cancellations(error)
            if failure is None:
                raise
            self._failure = service_error(failure) if isinstance(failure, Exception) else failure
        finally:
            self._end()

    @abstractmethod
    async def _drive(self) -> None:
        """The loop itself."""

    @abstractmethod
    def stop(self) -> None:
        """End the loop soon, wherever it is."""

    @abstractmethod
    def _turn_if_wanted(self) -> bool:
        """The core may have been called on trio's thread. If it wants a turn now, take that, or see that the loop takes
        it soon. ``True`` if it was taken here, so that there may be more to pass on."""

    @trio.lowlevel.enable_ki_protection
    def _end(self) -> None:
        self.has_left = True
        failure = self._failure or self._processor.failure
        try:
            self._tell_changes()
            failure = self._failure or with_whereabouts(failure, self._transport)
            self.reports.ended(failure)
        finally:  # nobody waits for ever, whatever a transport of others raises
            try:
                self._listener.ended(failure)
            finally:
                for gate in self.gates:
                    gate.break_all()
                self.left.set()


def _closed() -> RingClosedError:
    return RingClosedError("the processor has left the ring, or is leaving it; open another with open_ring(...)")
