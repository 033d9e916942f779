"""The trio service: one processor, driven by a transport and a clock, as channels.

Everything runs in one nursery that the caller can see. One task drives the core: it waits for datagrams until the next
deadline, gives the core the batch, and sends what the core wants sent. It is shielded, because leaving in an orderly
way takes a few datagrams more after the caller was cancelled; leaving has a bound of its own. No KeyboardInterrupt
comes while the core is at work, which would tear it apart: it goes to the body. ``recover`` runs in a task of its own
for each regular configuration, in a cancel scope that the next configuration cancels.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ringproto._core import Change, Processor
from ringproto.channels import CompletionChannel, EventChannel, Gate, RingClosedError, Sender
from ringproto.config import Config
from ringproto.errors import RingError
from ringproto.events import Event, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.transports import Transport
from ringproto.types import Guarantee, Priority, RingId

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["Recovery", "Ring", "open_ring", "run_ring"]

_LEAVE_GRACE_S = 1.0
"""What a transport gets, beyond ``leave_timeout_s``, to send the last datagrams."""

_LOOK_S = 0.0005
"""How long to look for datagrams when a timer is overdue."""

_transports_in_use: set[int] = set()


class Recovery:
    """One round of the barrier, as ``recover`` is given it."""

    def __init__(
        self, ring: Ring, configuration: RegularConfiguration, transitional: TransitionalConfiguration
    ) -> None:
        self._ring = ring
        self._configuration = configuration
        self._transitional = transitional

    @property
    def configuration(self) -> RegularConfiguration:
        """The configuration that this round belongs to."""
        return self._configuration

    @property
    def transitional(self) -> TransitionalConfiguration:
        """The transitional configuration that this processor came with: who has the same state as it has.

        A processor that just started comes alone, from a ring (0, node, 0) that never was.
        """
        return self._transitional

    async def send(self, value: bytes, guarantee: Guarantee = Guarantee.AGREED) -> None:
        """Send a ``RECOVERY`` message of this round; it is dropped if the configuration changes before it is sent.

        A checkpoint. Cancelled, the message was not accepted.

        Raises:
            RingError: the round is over.
            TypeError: the payload is not bytes.
            ValueError: it is larger than ``Config.message_size_max``.
        """
        guarantee = Guarantee(guarantee)
        ring = self._ring
        await ring._gates[Priority.RECOVERY].enter(
            lambda: ring._submit_recovery(self._configuration.ring_id, value, guarantee)
        )


Recover = Callable[[Recovery], Awaitable[None]]
RecoveryOverdue = Callable[[frozenset[int]], Awaitable[None]]


class Ring:
    """A processor on its ring. :func:`open_ring` and :func:`run_ring` make it."""

    def __init__(
        self,
        transport: Transport,
        config: Config,
        recover: Recover | None,
        recovery_overdue: RecoveryOverdue | None,
        processor: Processor,
        nursery: trio.Nursery,
        body_scope: trio.CancelScope,
    ) -> None:
        self._transport = transport
        self._config = config
        self._recover = recover
        self._recovery_overdue = recovery_overdue
        self._processor = processor
        self._nursery = nursery
        self._body_scope = body_scope
        self._gates = [Gate() for _ in Priority]
        self._events = EventChannel(self)
        self._completions = CompletionChannel()
        self._senders = {
            (priority, guarantee): Sender(self, priority, guarantee)
            for priority in (Priority.HIGH, Priority.LOW)
            for guarantee in Guarantee
        }
        self._configuration = processor.configuration
        self._transitional = TransitionalConfiguration(RingId(0, processor.node, 0), (processor.node,))
        self._failure: BaseException | None = None
        self._has_left = False
        self._left = trio.Event()
        # The driver's wait for datagrams, while it waits.
        self._waiting: trio.CancelScope | None = None
        # How many events the application has taken, and how many of those it must have dealt with, since it came back
        # for more.
        self._taken = 0
        self._dealt_with = 0
        self._caught_up = trio.lowlevel.ParkingLot()
        # The scopes of what runs for the present configuration.
        self._round: list[trio.CancelScope] = []
        self._recovering = trio.Lock()

    # What the application sees

    @property
    def node(self) -> int:
        """The own node id."""
        return self._processor.node

    @property
    def configuration(self) -> RegularConfiguration:
        """The last regular configuration that was delivered into the stream."""
        return self._configuration

    @property
    def high(self) -> Sender:
        """Sends ``HIGH`` messages, agreed."""
        return self._senders[Priority.HIGH, Guarantee.AGREED]

    @property
    def low(self) -> Sender:
        """Sends ``LOW`` messages, agreed."""
        return self._senders[Priority.LOW, Guarantee.AGREED]

    def sender(self, priority: Priority, guarantee: Guarantee = Guarantee.AGREED) -> Sender:
        """A new sender of this priority and guarantee.

        Raises:
            ValueError: there is no such priority or guarantee, or the priority is ``RECOVERY``.
        """
        priority = Priority(priority)
        if priority is Priority.RECOVERY:
            raise ValueError("RECOVERY messages are sent by the recover function, with recovery.send()")
        return Sender(self, priority, Guarantee(guarantee))

    @property
    def events(self) -> EventChannel:
        """The ordered stream of everything."""
        return self._events

    @property
    def recovery_complete(self) -> CompletionChannel:
        """The completions of recovery alone."""
        return self._completions

    @property
    def waiting_for(self) -> frozenset[int]:
        """The members of the configuration that have not unblocked yet."""
        return self._processor.waiting_for

    @property
    def ring_sequence(self) -> int:
        """The highest ring sequence known. A program that stores it and gives it to ``open_ring`` when it starts again
        has configuration ids that rise across its restarts."""
        return self._processor.ring_sequence

    def statistics(self) -> dict[str, int | float]:
        """Counters, which only rise, and gauges; ``docs/statistics.md`` says what each is.

        Those of the transport begin with ``transport_``. Times end in ``_s`` and are seconds.
        """
        values = self._processor.statistics()
        for priority in Priority:
            values[f"senders_waiting_{priority.name.lower()}"] = self._gates[priority].waiting
        for name, value in self._transport.statistics().items():
            values[f"transport_{name}"] = value
        return values

    def __repr__(self) -> str:
        members = ", ".join(map(str, self._configuration.members))
        return f"<ringproto.Ring node {self.node}, {self._processor.state}, members {members}>"

    # What the channels call

    def _check_open(self) -> None:
        if self._has_left or self._processor.leaving:
            raise RingClosedError("the processor has left the ring, or is leaving it; open another with open_ring(...)")

    def _check_payload(self, payload: object) -> None:
        self._processor.check_payload(payload)

    @trio.lowlevel.enable_ki_protection
    def _submit(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
        self._check_open()
        if not self._processor.submit(payload, priority, guarantee):
            return False  # nothing changed, so nobody need be told
        self._settle()
        return True

    @trio.lowlevel.enable_ki_protection
    def _submit_recovery(self, ring_id: RingId, payload: bytes, guarantee: Guarantee) -> bool:
        if self._processor.left:
            self._check_open()
        if not self._processor.submit_recovery(ring_id, payload, guarantee):
            return False
        self._settle()
        return True

    @trio.lowlevel.enable_ki_protection
    def _take_events(self, limit: int) -> list[Event]:
        # Who comes for more has dealt with what it has.
        self._dealt_with = self._taken
        self._caught_up.unpark_all()
        events = self._processor.take_events(limit)
        if events:
            self._taken += len(events)
            self._settle()
        return events

    def _events_closed(self) -> None:
        self._discard_events()
        self._settle()

    def _discard_events(self) -> None:
        while events := self._processor.take_events(4096):
            self._taken += len(events)
        self._dealt_with = self._taken
        self._caught_up.unpark_all()

    # The driver

    @trio.lowlevel.enable_ki_protection
    async def _drive(self) -> None:
        """Give the core datagrams and time, and the network what the core wants sent, until the processor has left."""
        processor, transport = self._processor, self._transport
        with trio.CancelScope(shield=True) as self._driver_scope:
            try:
                self._settle()
                while True:
                    await self._flush()
                    if processor.left:
                        break
                    # The scope is for the wait alone: neither a deadline nor a wake-up may cut a send short.
                    with trio.CancelScope(deadline=self._next_wake()) as scope:
                        self._waiting = scope
                        while True:
                            batch = await transport.receive()
                            self._waiting = None
                            self._handle(batch)
                            if scope.cancel_called:
                                break
                            scope.deadline = math.inf
                            await self._flush()
                            if processor.left:
                                break
                            scope.deadline = self._next_wake()
                            self._waiting = scope
                    self._waiting = None
                    self._handle([])
            except BaseException as error:
                failure = _without_cancellations(error)
                if failure is None:
                    raise
                self._fail(_service_error(failure) if isinstance(failure, Exception) else failure)
            finally:
                self._waiting = None
                self._finished()

    def _next_wake(self) -> float:
        """When to stop waiting for datagrams. What has arrived already is read first, however late it is: a processor
        that was away must not judge others by datagrams that wait in its own socket."""
        return max(self._processor.next_timeout, trio.current_time() + _LOOK_S)

    def _handle(self, batch: list[bytes]) -> None:
        """Datagrams, then what is due."""
        processor = self._processor
        now = trio.current_time()
        if batch:
            processor.handle_datagrams(batch, now)
        if processor.next_timeout <= now:
            processor.handle_timeout(now)
        self._settle()

    async def _flush(self) -> None:
        while self._processor.has_transmits:
            await self._transport.send(self._processor.take_transmits())

    def _settle(self) -> None:
        """After every call of the core: pass on what came of it."""
        processor = self._processor
        while changes := processor.take_changes():
            for change in changes:
                self._note_change(change)
        if self._events.closed:
            self._discard_events()
        elif processor.pending_events:
            self._events.wake()
        for gate in self._gates:
            gate.retry()
        waiting = self._waiting
        if waiting is not None:
            if processor.has_transmits or processor.left:
                waiting.cancel()
            elif processor.next_timeout < waiting.deadline:
                waiting.deadline = processor.next_timeout

    def _note_change(self, change: Change) -> None:
        event = change.event
        if isinstance(event, RecoveryComplete):
            self._completions.put(event)
        elif isinstance(event, TransitionalConfiguration):
            self._transitional = event
        else:
            self._configuration = event
            self._cancel_round()
            if self._recover is None:
                self._processor.unblock(event.ring_id)
            else:
                self._start_in_round(self._call_recover, change, event, self._transitional)
            if self._recovery_overdue is not None and self._config.recovery_deadline_s is not None:
                self._start_in_round(self._watch_round, event)

    def _start_in_round(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Start a task that the next configuration cancels."""
        scope = trio.CancelScope()
        self._round.append(scope)
        self._nursery.start_soon(self._guard, scope, function, args)

    def _cancel_round(self) -> None:
        for scope in self._round:
            scope.cancel()
        self._round.clear()

    async def _guard(self, scope: trio.CancelScope, function: Callable[..., Awaitable[None]], args: Any) -> None:
        """Run code of the application; what it raises ends the ring."""
        try:
            with scope:
                await function(*args)
        except BaseException as error:
            failure = _without_cancellations(error)
            if failure is None:
                raise
            if not (isinstance(failure, RingClosedError) and self._processor.left):
                self._fail(failure)

    async def _call_recover(
        self, change: Change, configuration: RegularConfiguration, transitional: TransitionalConfiguration
    ) -> None:
        """Wait for the application, so that the state that it sends is the state at the configuration; then call it,
        and unblock when it returns."""
        assert self._recover is not None
        while not self._is_caught_up(change):
            await self._caught_up.park()
        # One that was cancelled may take its time to clean up; there is never a second one beside it.
        async with self._recovering:
            awaitable = self._recover(Recovery(self, configuration, transitional))
            if not inspect.isawaitable(awaitable):
                raise TypeError(f"recover must be an async function, but calling it returned {awaitable!r}")
            await awaitable
            self._processor.unblock(configuration.ring_id)
            self._settle()

    def _is_caught_up(self, change: Change) -> bool:
        """Whether the application has dealt with every message before a configuration, and has seen every completion.

        A program that never read the stream, but waits for completions alone, has no state that hangs on them.
        """
        seen = self._taken == 0 or self._taken >= change.last_completion
        return seen and self._dealt_with >= change.last_message

    async def _watch_round(self, configuration: RegularConfiguration) -> None:
        """Call the application when the round takes too long; it never counts as done by itself."""
        assert self._recovery_overdue is not None and self._config.recovery_deadline_s is not None
        await trio.sleep(self._config.recovery_deadline_s)
        if self._processor.configuration.ring_id == configuration.ring_id and not self._processor.complete:
            await self._recovery_overdue(self._processor.waiting_for)

    # Leaving

    def _fail(self, error: BaseException) -> None:
        """The ring cannot go on: the body is cancelled and the error leaves ``open_ring`` bare."""
        if self._failure is None:
            self._failure = error
        self._body_scope.cancel()

    def _finished(self) -> None:
        """The driver is done; the ends say so to whoever waits at them."""
        self._has_left = True
        if self._processor.failure is not None:
            self._fail(self._processor.failure)
        self._events.wake()
        self._completions.end()
        for gate in self._gates:
            gate.break_all()
        self._left.set()

    async def _leave(self, *, in_order: bool) -> None:
        """Leave within a bound, whatever was cancelled.

        ``in_order``: the body came to its end, so a ``recover`` that runs may finish, and what waits for the barrier is
        sent. If not, ``recover`` is cancelled, and only what needs no unblock of this processor is waited for.
        """
        processor = self._processor
        with trio.CancelScope(shield=True):
            with trio.move_on_after(self._config.leave_timeout_s + _LEAVE_GRACE_S):
                self._settle()
                if not in_order:
                    self._cancel_round()
                processor.leave(trio.current_time(), drain=in_order or self._recover is None or processor.complete)
                self._settle()
                await self._left.wait()
            self._driver_scope.cancel()
            self._cancel_round()


def _without_cancellations(error: BaseException) -> BaseException | None:
    """What an exception tells beside cancellation: a group without its ``trio.Cancelled``, or nothing."""
    if isinstance(error, trio.Cancelled):
        return None
    if isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None:
        return error.split(trio.Cancelled)[1]
    return error


def _service_error(error: Exception) -> RingError:
    if isinstance(error, RingError):
        return error
    failure = RingError(f"the ring's service failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


@asynccontextmanager
async def open_ring(
    transport: Transport,
    *,
    config: Config | None = None,
    recover: Recover | None = None,
    recovery_overdue: RecoveryOverdue | None = None,
    ring_sequence: int = 0,
    seed: bytes | None = None,
    audit: list[tuple[Any, ...]] | None = None,
) -> AsyncIterator[Ring]:
    """Run a processor on ``transport`` while the body runs, and leave the ring at its end.

    Args:
        transport: from ``ringproto.transports``, or anything with that interface. It is closed at the end.
        config: the settings; ``None``: ``Config.lan()``.
        recover: called for every regular configuration, once the application has come back for more after every message
            before it and has taken every completion before it. Returning unblocks. A new configuration cancels it and
            calls it anew. ``None``: unblock at once.
        recovery_overdue: called with ``waiting_for`` when a barrier is not complete after
            ``config.recovery_deadline_s``; the barrier goes on waiting.
        ring_sequence: ``ring.ring_sequence`` as an earlier incarnation stored it; 0 if it did not.
        seed: 16 bytes instead of fresh random ones, for repeatable tests. Never the same for two processors.
        audit: a list that everything the rules of order and barrier speak of is appended to, for
            ``ringproto.testing``. Whoever gives it empties it.

    Raises:
        TypeError, ValueError: an argument is wrong; nothing was started and the transport is as it was.
        SlowConsumerError: the application did not read its events.
        RefusedError: processors that run already have other limits.
        RingError: the transport failed.

    What the body raises leaves unchanged, and so does what ``recover`` raises; neither is wrapped in a group.
    Cancelled, or at the end of its body, the processor waits until what it accepted is sent (at most
    ``config.leave_timeout_s``) and tells the others that it leaves. Cancelled while ``recover`` runs, it cancels that
    too, and does not wait for what only its unblock would let go.
    """
    config = Config.lan() if config is None else config
    if not isinstance(config, Config):
        raise TypeError(f"config must be a ringproto.Config, not {type(config).__name__}")
    if not isinstance(transport, Transport):
        raise TypeError(
            f"transport must have the interface of ringproto.transports.Transport; {type(transport).__name__} has not"
        )
    for name, function in (("recover", recover), ("recovery_overdue", recovery_overdue)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be an async function, not {type(function).__name__}")
    if id(transport) in _transports_in_use:
        raise ValueError("this transport serves another open ring; every processor needs one of its own")
    processor = Processor(
        transport.node,
        config,
        datagram_size=transport.datagram_size_max,
        seed=os.urandom(16) if seed is None else seed,
        now=trio.current_time(),
        ring_sequence=ring_sequence,
        audit=audit,
    )
    body_error: BaseException | None = None
    _transports_in_use.add(id(transport))
    try:
        async with trio.open_nursery() as nursery:
            body_scope = trio.CancelScope()
            ring = Ring(transport, config, recover, recovery_overdue, processor, nursery, body_scope)
            nursery.start_soon(ring._drive)
            try:
                with body_scope:
                    yield ring
            except BaseException as error:
                # It leaves below, outside of the nursery, which would wrap it in a group.
                body_error = error
            await ring._leave(in_order=body_error is None and not body_scope.cancel_called)
            nursery.cancel_scope.cancel()
    except trio.Cancelled:
        if body_error is None:
            raise
    finally:
        _transports_in_use.discard(id(transport))
        close_error = await _close(transport)
    failure = ring._failure or close_error
    if failure is not None and (body_error is None or isinstance(body_error, RingClosedError)):
        # The body may have run into the closed ring before it was cancelled: the reason says more.
        raise failure
    if body_error is not None:
        if body_error.__context__ is None:
            body_error.__context__ = failure
        raise body_error


async def _close(transport: Transport) -> RingError | None:
    with trio.CancelScope(shield=True):
        try:
            await transport.aclose()
        except Exception as error:
            return _service_error(error)
    return None


async def run_ring(
    transport: Transport,
    *,
    config: Config | None = None,
    recover: Recover | None = None,
    recovery_overdue: RecoveryOverdue | None = None,
    ring_sequence: int = 0,
    task_status: trio.TaskStatus[Ring] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a processor in a nursery of the caller's: ``ring = await nursery.start(run_ring, transport)``.

    It runs until it is cancelled, and then leaves in an orderly way. Arguments and errors are those of
    :func:`open_ring`.
    """
    async with open_ring(
        transport,
        config=config,
        recover=recover,
        recovery_overdue=recovery_overdue,
        ring_sequence=ring_sequence,
    ) as ring:
        task_status.started(ring)
        await trio.sleep_forever()
