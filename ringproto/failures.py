"""What goes wrong in the service, and how it is told to the application: bare, and as one type of error."""

from __future__ import annotations

import sys
import threading

import trio

from ringproto.errors import DuplicateNodeError, RingError
from ringproto.transports import AddressedTransport, Transport

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = [
    "RingClosedError",
    "service_error",
    "whereabouts",
    "with_whereabouts",
    "without_cancellations",
    "wrong_thread",
]


class RingClosedError(RingError, trio.ClosedResourceError):
    """The call came after this processor left the ring, or after this end of it was closed."""


def without_cancellations(error: BaseException) -> BaseException | None:
    """What an exception tells beside cancellation: a group without its ``trio.Cancelled``, or nothing."""
    if isinstance(error, trio.Cancelled):
        return None
    if isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None:
        return error.split(trio.Cancelled)[1]
    return error


def service_error(error: Exception) -> RingError:
    """The error that leaves ``open_ring`` when the service failed with this one."""
    if isinstance(error, RingError):
        return error
    failure = RingError(f"the ring's service failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def whereabouts(transport: Transport, node: int) -> str:
    """Where two processes are that use a node id, as a sentence that ends a message; empty unless both are known."""
    if not isinstance(transport, AddressedTransport):
        return ""
    here, there = transport.address_of(node), transport.claims_of(node)
    if here is None or there is None:
        return ""
    return (
        f". This one is at {here}, the other at {there}"
        if node == transport.node
        else f". They are at {here} and {there}"
    )


def with_whereabouts(failure: BaseException | None, transport: Transport) -> BaseException | None:
    """What the core failed with; the address of the other process is known to the transport alone."""
    if isinstance(failure, DuplicateNodeError):
        return DuplicateNodeError(f"{failure}{whereabouts(transport, transport.node)}")
    return failure


def wrong_thread() -> RuntimeError:
    """The error of a call that changes something, from another thread than that of the ring."""
    return RuntimeError(
        "a ring is used in the thread of the trio run that opened it; this call came from the thread "
        f"{threading.current_thread().name!r} and changed nothing. In another thread use "
        "trio.from_thread.run_sync(ring.high.send_nowait, payload), or trio.from_thread.run(ring.high.send, payload) "
        "for a call that waits, and likewise for every other method that changes something; a thread that trio did not "
        "start gives them trio_token=, which is trio.lowlevel.current_trio_token() of the ring's run"
    )
