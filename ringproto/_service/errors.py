"""What goes wrong in the service, and how it is told to the application: bare, and as one type of error."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

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


_CAUSES_MAX = 4
"""So many of the exceptions of one group are named in the text of an error."""


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
    """The error that leaves ``open_ring`` when the service failed with this one; of a group with what is in it."""
    causes = list(_leaves(error))
    if len(causes) == 1 and isinstance(causes[0], RingError):
        return causes[0]
    text = "; ".join(f"{type(one).__name__}: {one}" for one in causes[:_CAUSES_MAX])
    if len(causes) > _CAUSES_MAX:
        text += f"; and {len(causes) - _CAUSES_MAX} more"
    failure = RingError(f"the ring's service failed: {text}")
    failure.__cause__ = causes[0] if len(causes) == 1 else error
    return failure


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


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
