"""The trio service: one processor, driven by a transport and a clock, as channels.

Everything runs in one nursery that the caller can see. A driver keeps the core going (``driver.py``); ``recover`` runs
in a task of its own for each regular configuration (``recovery.py``). Here is the face of it all, and how a processor
begins and leaves.
"""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import trio

from ringproto._core import Processor, StreamChange
from ringproto._service.channels import CompletionChannel, EventChannel, Sender
from ringproto._service.driver import Driver, Listener
from ringproto._service.errors import RingClosedError, service_error, without_cancellations
from ringproto._service.recovery import Recover, RecoveryOverdue, Rounds
from ringproto._service.thread_driver import ThreadDriver
from ringproto._service.trio_driver import TrioDriver
from ringproto.config import Config
from ringproto.errors import RingError
from ringproto.events import RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.log import BoundedLog
from ringproto.transports import BackgroundTransport, BlockingTransport, PacedTransport, Transport
from ringproto.types import Guarantee, Priority, RingId

__all__ = ["Ring", "open_ring", "run_ring"]

_LEAVE_GRACE_S = 1.0
"""What a transport gets, beyond ``leave_timeout_s``, to send the last datagrams."""

_MEMORY_WARNED_BYTES = 2**30
"""Above so many bytes that a processor may come to hold, somebody should know of it."""

_log = BoundedLog()
_transports_in_use: set[int] = set()


class Ring:
    """A processor on its ring. :func:`open_ring` and :func:`run_ring` make it.

    What it has itself only reads, so any thread may ask for it. The channels that it gives change something, and are
    used in the thread of the trio run that opened the ring.
    """

    def __init__(
        self,
        driver: Driver,
        config: Config,
        recover: Recover | None,
        recovery_overdue: RecoveryOverdue | None,
        nursery: trio.Nursery,
        body_scope: trio.CancelScope,
    ) -> None:
        self._driver = driver
        self._config = config
        self._recovers = recover is not None
        self._body_scope = body_scope
        self._events = EventChannel(driver)
        self._completions = CompletionChannel(driver)
        self._rounds = Rounds(driver, self._events, nursery, config, recover, recovery_overdue, self._fail)
        self._senders = {
            (priority, guarantee): Sender(driver, priority, guarantee)
            for priority in (Priority.HIGH, Priority.LOW)
            for guarantee in Guarantee
        }
        self._configuration = driver.configuration
        self._transitional = TransitionalConfiguration(RingId(0, driver.node, 0), (driver.node,))
        self._failure: BaseException | None = None
        driver.listen(Listener(self._note_change, self._events.wake, self._note_end))

    # What the application sees

    @property
    def node(self) -> int:
        """The own node id."""
        return self._driver.node

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
        return Sender(self._driver, priority, Guarantee(guarantee))

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
        return self._driver.waiting_for

    @property
    def ring_sequence(self) -> int:
        """The highest ring sequence known. A program that stores it and gives it to ``open_ring`` when it starts again
        has configuration ids that rise across its restarts."""
        return self._driver.ring_sequence

    def statistics(self) -> dict[str, int | float]:
        """Counters, which only rise, and gauges; ``docs/statistics.md`` says what each is.

        Those of the transport begin with ``transport_``. Times end in ``_s`` and are seconds.
        """
        return self._driver.statistics()

    def __repr__(self) -> str:
        members = ", ".join(map(str, self._configuration.members))
        return f"<ringproto.Ring node {self.node}, {self._driver.state}, members {members}>"

    # What the driver tells

    def _note_change(self, change: StreamChange) -> None:
        """A configuration or a completion came into the stream."""
        event = change.event
        if isinstance(event, RecoveryComplete):
            self._completions.put(event)
        elif isinstance(event, TransitionalConfiguration):
            self._transitional = event
        else:
            self._configuration = event
            self._rounds.begin(change, event, self._transitional)

    def _note_end(self, failure: BaseException | None) -> None:
        """The processor has left; the ends say so to whoever waits at them."""
        if failure is not None:
            self._fail(failure)
        self._events.wake()
        self._completions.end()

    def _fail(self, error: BaseException) -> None:
        """The ring cannot go on: the body is cancelled and the error leaves ``open_ring`` bare."""
        if self._failure is None:
            self._failure = error
        self._body_scope.cancel()

    # Leaving

    async def _leave(self, *, in_order: bool) -> None:
        """Leave within a bound, whatever was cancelled.

        ``in_order``: the body came to its end, so a ``recover`` that runs may finish, and what waits for the barrier is
        sent. If not, ``recover`` is cancelled, and only what needs no unblock of this processor is waited for.
        """
        driver = self._driver
        with trio.CancelScope(shield=True):
            with trio.move_on_after(self._config.leave_timeout_s + _LEAVE_GRACE_S):
                driver.settle()
                if not in_order:
                    self._rounds.cancel()
                driver.leave(drain=in_order or not self._recovers or driver.complete)
                await driver.left.wait()
            driver.stop()
            self._rounds.cancel()


@asynccontextmanager
async def open_ring(
    transport: Transport,
    *,
    config: Config | None = None,
    recover: Recover | None = None,
    recovery_overdue: RecoveryOverdue | None = None,
    ring_sequence: int = 0,
    driver: Literal["trio", "thread"] = "trio",
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
        driver: what keeps the ring going. ``"trio"``: a task of the program, which a computation that keeps trio's loop
            busy also stops. ``"thread"``: a thread beside it, for programs that do that and must not lose their place;
            the transport has to be a :class:`ringproto.transports.BlockingTransport`, as those over UDP are.
        seed: 16 bytes instead of fresh random ones, for repeatable tests. Never the same for two processors.
        audit: a list that everything the rules of order and barrier speak of is appended to, for
            ``ringproto.testing``. Whoever gives it empties it.

    Raises:
        TypeError, ValueError: an argument is wrong; nothing was started and the transport is as it was.
        SlowConsumerError: the application took no event for ``config.slow_consumer_timeout_s`` while its stream was
            full.
        RefusedError: processors that run already have other limits.
        DuplicateNodeError: another living process uses the node id of this one, and keeps it.
        RingError: the base of these three; itself when the transport failed, or when ``ring_sequence`` was damaged: the
            others are more than 2**32 behind it, or it is near 2**62, the highest there is.

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
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"{name} must be an async function that is awaited; one that has a yield cannot be")
    if id(transport) in _transports_in_use:
        raise ValueError("this transport serves another open ring; every processor needs one of its own")
    if driver not in ("trio", "thread"):
        raise ValueError(f"driver must be 'trio' or 'thread', not {driver!r}")
    clock: Callable[[], float]
    drive: Callable[..., Driver]
    if driver == "trio":
        clock = trio.lowlevel.current_clock().current_time
        drive = functools.partial(TrioDriver, transport, clock)
    elif isinstance(transport, BlockingTransport):
        clock = time.monotonic
        drive = functools.partial(ThreadDriver, transport, clock)
    else:
        raise ValueError(
            f"{type(transport).__name__} cannot be used by a thread: it has not the interface of "
            "ringproto.transports.BlockingTransport. Use driver='trio', or a transport over UDP"
        )
    processor = Processor(
        transport.node,
        config,
        datagram_size=transport.datagram_size_max,
        receive_buffer=transport.statistics().get("receive_buffer_bytes"),
        seed=os.urandom(16) if seed is None else seed,
        now=clock(),
        ring_sequence=ring_sequence,
        audit=audit,
    )
    _warn_of_memory(processor.node, processor.config)
    if isinstance(transport, PacedTransport):
        transport.set_pace(config.merge_detect_s)
    service = drive(processor, unblocks=recover is None)
    body_error: BaseException | None = None
    _transports_in_use.add(id(transport))
    try:
        async with trio.open_nursery() as nursery:
            body_scope = trio.CancelScope()
            ring = Ring(service, config, recover, recovery_overdue, nursery, body_scope)
            nursery.start_soon(service.run)
            if isinstance(transport, BackgroundTransport):
                nursery.start_soon(_run_background, transport, ring._fail)
            try:
                with body_scope:
                    yield ring
            except BaseException as error:
                # It leaves below, outside of the nursery, which would wrap it in a group.
                body_error = error
            await ring._leave(in_order=body_error is None and not body_scope.cancel_called)
            nursery.cancel_scope.cancel()
    except BaseException as error:
        # That the tasks of the nursery were cancelled as well, one or several, says no more than the body's own error.
        if body_error is None or without_cancellations(error) is not None:
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


def _warn_of_memory(node: int, config: Config) -> None:
    """Say it when a ring with these settings may come to hold very much."""
    most = config.memory_max_bytes()
    if most > _MEMORY_WARNED_BYTES:
        _log.warning(
            "memory",
            f"node {node}: the settings allow this ring to hold {most / 2**30:.1f} GiB (Config.memory_max_bytes), "
            f"{config.begun_max_bytes / 2**30:.1f} GiB of it messages that have begun: one of message_size_max "
            f"({config.message_size_max}) in each priority from each of members_max ({config.members_max}). Lower one "
            "of them, or the queues and windows, if the machine has less",
            node=node,
        )


async def _run_background(transport: BackgroundTransport, fail: Callable[[BaseException], None]) -> None:
    """What the transport has to do beside sending and receiving, until the nursery is cancelled."""
    try:
        await transport.run_background()
    except BaseException as error:
        failure = without_cancellations(error)
        if failure is None:
            raise
        fail(service_error(failure) if isinstance(failure, Exception) else failure)


async def _close(transport: Transport) -> RingError | None:
    with trio.CancelScope(shield=True):
        try:
            await transport.aclose()
        except Exception as error:
            return service_error(error)
    return None


async def run_ring(
    transport: Transport,
    *,
    config: Config | None = None,
    recover: Recover | None = None,
    recovery_overdue: RecoveryOverdue | None = None,
    ring_sequence: int = 0,
    driver: Literal["trio", "thread"] = "trio",
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
        driver=driver,
    ) as ring:
        task_status.started(ring)
        await trio.sleep_forever()
