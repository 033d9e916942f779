"""The ends that the application holds: what it sends goes in here, the ordered stream comes out here.

Nothing of the stream is thrown away and nothing waits without a bound (of the completions beside it the last 64 are
kept). A full send queue makes ``send()`` wait, and a stream that is not read slows the ring down. A cancelled call has
done nothing, or all of it: the one step that counts is not a checkpoint. Whatever changes something here is called in
the thread of the ring's trio run and nowhere else, and says so before it does anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from threading import get_ident

import trio

from ringproto._core import Batch, StreamChange
from ringproto._service.driver import Driver
from ringproto._service.errors import RingClosedError, wrong_thread
from ringproto.events import Event, RecoveryComplete
from ringproto.types import Guarantee, Priority

__all__ = ["CompletionChannel", "EventChannel", "Sender"]

_COMPLETIONS_MAX = 64
_BATCH_MAX = 256
"""So many messages that the token does not wait long for an application that deals with them in one go."""
_LIMIT_MAX = 2**31 - 1
"""More events than that are never there; the core counts with numbers of C."""


class Sender(trio.abc.SendChannel[bytes]):
    """Sends messages of one priority and one guarantee. Several tasks may use it; one queue serves a priority.

    A message that was accepted is sent exactly once while this processor lives, after the barrier of the configuration
    that it is sent in, in the order in which it was accepted.

    All methods raise ``RuntimeError``, with nothing changed, in another thread than that of the ring; there call them
    with ``trio.from_thread.run`` or ``trio.from_thread.run_sync``.
    """

    def __init__(self, driver: Driver, priority: Priority, guarantee: Guarantee) -> None:
        self._driver = driver
        self._thread = driver.thread
        self._gate = driver.gates[priority]
        self._priority = priority
        self._guarantee = guarantee
        self._closed = False

    @property
    def priority(self) -> Priority:
        return self._priority

    @property
    def guarantee(self) -> Guarantee:
        return self._guarantee

    def _check_open(self) -> None:
        if self._closed:
            raise RingClosedError("this sender was closed; take another with ring.sender(priority, guarantee)")

    def _attempt(self, payload: bytes) -> bool:
        self._check_open()
        return self._driver.submit(payload, self._priority, self._guarantee)

    async def send(self, value: bytes) -> None:
        """Wait until the queue takes the message.

        That it was accepted says that it will be sent while this processor lives. A write may be acknowledged when the
        message comes back in the stream of events and is ``settled`` (:class:`ringproto.Message`).

        A checkpoint. Cancelled, the message was not accepted.

        Raises:
            TypeError: the payload is not bytes.
            ValueError: it is larger than ``Config.message_size_max``.
            RingClosedError: the processor has left the ring, or this sender was closed.
        """
        if get_ident() != self._thread:
            raise wrong_thread()
        if not self._gate.free:
            self._driver.check_payload(value)  # before it waits for others
        await self._gate.enter(lambda: self._attempt(value))

    def send_nowait(self, value: bytes) -> None:
        """Send now.

        Raises:
            trio.WouldBlock: the queue is full, or others wait for it.
            TypeError, ValueError, RingClosedError: as :meth:`send`.
        """
        if get_ident() != self._thread:
            raise wrong_thread()
        self._check_open()
        if not self._gate.free:
            self._driver.check_payload(value)
            raise trio.WouldBlock
        if not self._driver.submit(value, self._priority, self._guarantee):
            raise trio.WouldBlock

    async def send_batch(self, payloads: Iterable[bytes]) -> None:
        """Send many messages, in order, with no other of this priority between those that fit together.

        They are copied, and all are checked before the first is accepted: an error means that none was. A checkpoint.
        Cancelled, the first so many were accepted and the others were not.

        Raises:
            TypeError: ``payloads`` cannot be iterated over, or has something in it that is not bytes.
            ValueError, RingClosedError: as :meth:`send`.
        """
        if get_ident() != self._thread:
            raise wrong_thread()
        if isinstance(payloads, (bytes, bytearray, str)) or not isinstance(payloads, Iterable):
            raise TypeError(f"send_batch() takes an iterable of bytes, not {type(payloads).__name__}")
        batch = Batch(payloads)
        self._driver.check_batch(batch)
        accepted = 0

        def attempt() -> bool:
            nonlocal accepted
            while accepted < len(batch):
                self._check_open()
                count = self._driver.submit_batch(batch, accepted, self._priority, self._guarantee)
                if not count:
                    return False
                accepted += count  # alone on a ring there may be room again at once
            return True

        if not len(batch):
            self._check_open()
            self._driver.check_open()
            await trio.lowlevel.checkpoint()
            return
        await self._gate.enter(attempt)

    def close(self) -> None:
        """Close this sender; others go on, and what it sent is on its way. Raises RuntimeError in another thread."""
        self._driver.check_thread()
        self._closed = True

    async def aclose(self) -> None:
        """As :meth:`close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


class EventChannel(trio.abc.ReceiveChannel[Event]):
    """The ordered stream of everything: messages, configurations, completions.

    It ends (``trio.EndOfChannel``; an ``async for`` just stops) when the processor has left the ring. Several tasks may
    read it, and each event goes to one of them.

    All methods raise ``RuntimeError``, with nothing changed, in another thread than that of the ring; there call them
    with ``trio.from_thread.run`` or ``trio.from_thread.run_sync``.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._arrivals = trio.lowlevel.ParkingLot()
        self._closed = False
        # How many events the application has taken, and how many of those it must have dealt with, since it came back
        # for more.
        self._taken = 0
        self._dealt_with = 0
        self._caught_up = trio.lowlevel.ParkingLot()

    async def receive(self) -> Event:
        """The next event.

        A checkpoint. Cancelled, no event was taken.

        Raises:
            trio.EndOfChannel: the processor has left and everything was read.
            RingClosedError: this end was closed.
        """
        self._driver.check_thread()
        return (await self._take(1))[0]

    async def receive_batch(self, limit: int = _BATCH_MAX) -> list[Event]:
        """All events that are there, at least one and at most ``limit``: one wake-up for much work.

        A checkpoint, and cancelled and ended as :meth:`receive`.

        Raises:
            ValueError: ``limit`` is not a whole number of at least 1.
            trio.EndOfChannel, RingClosedError: as :meth:`receive`.
        """
        self._driver.check_thread()
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit must be a whole number of at least 1, not {limit!r}")
        return await self._take(min(limit, _LIMIT_MAX))

    def receive_nowait(self) -> Event:
        """The next event if it is there.

        Raises:
            trio.WouldBlock: there is none now.
            trio.EndOfChannel, RingClosedError: as :meth:`receive`.
        """
        self._driver.check_thread()
        events = self._try_take(1)
        if not events:
            raise trio.WouldBlock
        return events[0]

    async def _take(self, limit: int) -> list[Event]:
        await trio.lowlevel.checkpoint_if_cancelled()
        events = self._try_take(limit)
        if events:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while not events:
            await self._arrivals.park()  # lets the other tasks run, so nothing more has to
            events = self._try_take(limit)
        return events

    def _try_take(self, limit: int) -> list[Event]:
        if self._closed:
            raise RingClosedError("ring.events was closed")
        events = self._take_some(limit)
        if not events and self._driver.has_left:
            raise trio.EndOfChannel
        return events

    @trio.lowlevel.enable_ki_protection
    def _take_some(self, limit: int) -> list[Event]:
        # Who comes for more has dealt with what it has.
        self._dealt_with = self._taken
        if self._caught_up:
            self._caught_up.unpark_all()
        events = self._driver.take_events(limit)
        self._taken += len(events)
        return events

    def close(self) -> None:
        """The application wants no more events: from now on they are thrown away as they come. Raises RuntimeError in
        another thread."""
        self._driver.check_thread()
        self._closed = True
        self.wake()
        self._driver.settle()

    async def aclose(self) -> None:
        """As :meth:`close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    def wake(self) -> None:
        """Something may have come, or the end. For the ring itself, which tells it all by this."""
        self._driver.check_thread()
        if self._closed:
            self._taken += self._driver.drop_events(_BATCH_MAX)
            self._dealt_with = self._taken
            self._caught_up.unpark_all()
        if self._arrivals:
            self._arrivals.unpark_all()

    async def wait_until_read(self, change: StreamChange) -> None:
        """Wait until the application has dealt with every message before a change, and has seen every completion.

        A program that never read the stream, but waits for completions alone, has no state that hangs on them.
        """
        self._driver.check_thread()
        while not self._is_read(change):
            await self._caught_up.park()

    def _is_read(self, change: StreamChange) -> bool:
        seen = self._taken == 0 or self._taken >= change.last_completion
        return seen and self._dealt_with >= change.last_message


class CompletionChannel(trio.abc.ReceiveChannel[RecoveryComplete]):
    """The completions of recovery alone, a convenience beside the ordered stream, which is the truth.

    It keeps the last 64 that were not read; a completion comes here as soon as the processor knows of it, whether or
    not the application has read the stream so far.

    All methods raise ``RuntimeError``, with nothing changed, in another thread than that of the ring; there call them
    with ``trio.from_thread.run`` or ``trio.from_thread.run_sync``.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._completions: deque[RecoveryComplete] = deque(maxlen=_COMPLETIONS_MAX)
        self._arrivals = trio.lowlevel.ParkingLot()
        self._closed = False
        self._ended = False

    def put(self, completion: RecoveryComplete) -> None:
        """A completion came. For the ring itself."""
        self._driver.check_thread()
        self._completions.append(completion)
        self._arrivals.unpark_all()

    def end(self) -> None:
        """The processor has left. For the ring itself."""
        self._driver.check_thread()
        self._ended = True
        self._arrivals.unpark_all()

    async def receive(self) -> RecoveryComplete:
        """The next completion.

        A checkpoint. Cancelled, none was taken.

        Raises:
            trio.EndOfChannel: the processor has left and all were read.
            RingClosedError: this end was closed.
        """
        self._driver.check_thread()
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._closed:
                raise RingClosedError("ring.recovery_complete was closed")
            if self._completions:
                completion = self._completions.popleft()
                await trio.lowlevel.cancel_shielded_checkpoint()
                return completion
            if self._ended:
                raise trio.EndOfChannel
            await self._arrivals.park()

    async def aclose(self) -> None:
        """Close this end, and a checkpoint; the stream goes on."""
        self._driver.check_thread()
        self._closed = True
        self._arrivals.unpark_all()
        await trio.lowlevel.checkpoint()
