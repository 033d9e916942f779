"""The application's part in the barrier: ``recover`` and ``recovery_overdue``, in tasks of their own.

What runs for a regular configuration is in cancel scopes that the next configuration cancels.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ringproto._core import StreamChange
from ringproto._service.channels import EventChannel
from ringproto._service.driver import Driver
from ringproto._service.errors import RingClosedError, without_cancellations
from ringproto.config import Config
from ringproto.events import RegularConfiguration, TransitionalConfiguration
from ringproto.types import Guarantee, Priority

__all__ = ["Recover", "Recovery", "RecoveryOverdue", "Rounds"]


class Recovery:
    """One round of the barrier, as ``recover`` is given it."""

    def __init__(
        self, driver: Driver, configuration: RegularConfiguration, transitional: TransitionalConfiguration
    ) -> None:
        self._driver = driver
        self._configuration = configuration
        self._transitional = transitional

    @property
    def configuration(self) -> RegularConfiguration:
        """The configuration that this round belongs to."""
        return self._configuration

    @property
    def transitional(self) -> TransitionalConfiguration:
        """The transitional configuration that this processor came with: who was given the same events as it was, from
        the last regular configuration to this one.

        They have the same state only if they had the same state when that regular configuration began, or its barrier
        was completed: after an aborted round members with different states come along together.
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
            RuntimeError: called in another thread than that of the ring, with nothing changed; there call it with
                ``trio.from_thread.run``.
        """
        self._driver.check_thread()
        guarantee = Guarantee(guarantee)
        driver = self._driver
        await driver.gates[Priority.RECOVERY].enter(
            lambda: driver.submit_recovery(self._configuration.ring_id, value, guarantee)
        )


Recover = Callable[[Recovery], Awaitable[None]]
RecoveryOverdue = Callable[[frozenset[int]], Awaitable[None]]


class Rounds:
    """Runs the application's functions for one configuration after the other.

    Args:
        driver: the processor.
        events: the stream, which the application must have read before ``recover`` is called.
        nursery: where the tasks run.
        config: for ``recovery_deadline_s``.
        recover, recovery_overdue: the functions, as ``open_ring`` takes them.
        fail: is told what they raise.
    """

    def __init__(
        self,
        driver: Driver,
        events: EventChannel,
        nursery: trio.Nursery,
        config: Config,
        recover: Recover | None,
        recovery_overdue: RecoveryOverdue | None,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._driver = driver
        self._events = events
        self._nursery = nursery
        self._deadline_s = config.recovery_deadline_s
        self._recover = recover
        self._recovery_overdue = recovery_overdue
        self._fail = fail
        # The scopes of what runs for the present configuration.
        self._scopes: list[trio.CancelScope] = []
        self._recovering = trio.Lock()

    def begin(
        self, change: StreamChange, configuration: RegularConfiguration, transitional: TransitionalConfiguration
    ) -> None:
        """A configuration came into the stream: its round takes the place of the one before."""
        self.cancel()
        if self._recover is not None:
            self._start(self._call_recover, self._recover, change, configuration, transitional)
        if self._recovery_overdue is not None and self._deadline_s is not None:
            self._start(self._watch, self._recovery_overdue, self._deadline_s, configuration)

    def cancel(self) -> None:
        """End what runs."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()

    def _start(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        scope = trio.CancelScope()
        self._scopes.append(scope)
        self._nursery.start_soon(self._guard, scope, function, args)

    async def _guard(self, scope: trio.CancelScope, function: Callable[..., Awaitable[None]], args: Any) -> None:
        """Run code of the application; what it raises ends the ring."""
        try:
            with scope:
                await function(*args)
        except BaseException as error:
            failure = without_cancellations(error)
            if failure is None:
                raise
            if not (isinstance(failure, RingClosedError) and self._driver.out):
                self._fail(failure)

    async def _call_recover(
        self,
        recover: Recover,
        change: StreamChange,
        configuration: RegularConfiguration,
        transitional: TransitionalConfiguration,
    ) -> None:
        """Wait for the application, so that the state that it sends is the state at the configuration; then call it,
        and unblock when it returns."""
        await self._events.wait_until_read(change)
        # One that was cancelled may take its time to clean up; there is never a second one beside it.
        async with self._recovering:
            awaitable = recover(Recovery(self._driver, configuration, transitional))
            if not inspect.isawaitable(awaitable):
                raise TypeError(f"recover must be an async function, but calling it returned {awaitable!r}")
            self._driver.reports.recover_began()
            try:
                await awaitable
            finally:
                self._driver.reports.recover_ended()
            self._driver.unblock(configuration.ring_id)

    async def _watch(
        self, recovery_overdue: RecoveryOverdue, deadline_s: float, configuration: RegularConfiguration
    ) -> None:
        """Call the application when the round takes too long; it never counts as done by itself."""
        await trio.sleep(deadline_s)
        driver = self._driver
        if driver.configuration.ring_id == configuration.ring_id and not driver.complete:
            await recovery_overdue(driver.waiting_for)
