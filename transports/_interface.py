"""The interface between a ring and its network.

A transport carries datagrams between processors: unreliable, unordered in general, and cheap. Totem (Amir et al., ACM
TOCS 13(4), 1995, section 3) requires only a broadcast domain in which datagrams may be lost, delayed and reordered. So
everything that makes messages reliable is above this interface, and nothing of it is below. Both calls take and return
batches, because datagrams dominate the cost of a ring: one wake-up must do much work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = [
    "AddressInUseError",
    "AddressedTransport",
    "BackgroundTransport",
    "BlockingTransport",
    "EagerTransport",
    "InterfaceError",
    "PacedTransport",
    "Transport",
    "TransportError",
]


class TransportError(OSError):
    """A transport could not be opened. Later failures are counted in ``statistics()`` and never raised."""


class AddressInUseError(TransportError):
    """Another socket has the address and port."""


class InterfaceError(TransportError):
    """The interface does not exist, or it lacks a required property."""


@runtime_checkable
class Transport(Protocol):
    """Datagrams between processors, in batches both ways.

    One task may be in :meth:`send` and one in :meth:`receive` at the same time. A second task in the same method gets
    :class:`trio.BusyResourceError` if both are in it at the same time.

    **May be lost, duplicated, delayed and reordered:** every datagram, on any network that is not documented as
    perfect. **Never happens:** a datagram comes out changed, cut short, joined to another, empty or longer than
    ``datagram_size_max``, or at the processor that sent it. On an idle network that loses nothing, the datagrams of one
    sender reach each destination in the order in which they were sent. This holds for broadcasts (destination 0) and
    for unicasts separately: a unicast may overtake a broadcast or be overtaken by it.
    """

    @property
    def node(self) -> int:
        """The node id of this processor, 1 .. 2**32 - 1."""

    @property
    def datagram_size_max(self) -> int:
        """The largest datagram that :meth:`send` takes, in bytes. It never changes."""

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Hand datagrams to the network, in the order given.

        Each item is (destination, datagram). Destination 0 is every other processor; any other number is one node id. A
        unicast to a node with an unknown address is counted and dropped, or sent to all processors if the transport can
        do that. A datagram to this node itself is counted and dropped. A network error is counted, its datagrams are
        lost, and it never raises. If the network accepts no more, the call waits for a bounded time and then drops the
        rest.

        Raises:
            ValueError: a datagram has no bytes or more than ``datagram_size_max``, or a destination is not
                0 .. 2**32 - 1. Nothing was sent.
            TypeError: a datagram is not ``bytes``. Nothing was sent.
            trio.ClosedResourceError: the transport is closed.
            trio.BusyResourceError: another task is sending.

        Cancellation: always noticed on entry; then nothing is sent. It is also noticed while the network accepts no
        more; then the rest of the batch is dropped and counted. Unlike most of trio, a call that need not wait does not
        let other tasks run each time, but at least once in some hundreds of datagrams.
        """

    async def receive(self) -> list[bytes]:
        """Wait until datagrams have arrived and return some of them: at least one, and a bounded number.

        They come in the order of their arrival. A transport that reads from several sockets returns broadcasts before
        unicasts, so that the token does not overtake the messages that it refers to.

        Raises:
            trio.ClosedResourceError: the transport is closed, or was closed during the wait.
            trio.BusyResourceError: another task is receiving.

        Cancellation: loses nothing. A later call returns the datagrams that this call did not return. A call always
        lets other tasks run.
        """

    async def aclose(self) -> None:
        """Close the transport. May be called again. Later calls of :meth:`send` and :meth:`receive` raise
        :class:`trio.ClosedResourceError`.

        Cancellation: the transport is closed nevertheless.
        """

    def statistics(self) -> dict[str, int]:
        """Return the counters since the transport was opened, and a few gauges. Works on a closed transport too.

        Every transport has ``datagrams_sent``, ``bytes_sent``, ``datagrams_received`` and ``bytes_received``. Bytes are
        those of the datagrams alone, without headers. A broadcast that goes out as several datagrams counts as several.
        So does a datagram that is cut for sending; the header of each part counts too. Local losses are counted by
        reason under names that begin with ``drops_``, ``send_errors_`` and ``receive_errors_``. A reason that never
        happened may be missing. A transport that knows how many bytes the system can buffer for it reports that number
        as ``receive_buffer_bytes``; a processor sends no more bytes than that in one burst.
        """


@runtime_checkable
class EagerTransport(Transport, Protocol):
    """A transport that can also send without waiting, as all of this package can. This makes a hop of the token
    cheaper."""

    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        """Send as :meth:`Transport.send` does, with the same errors, but keep the datagrams for which it would have to
        wait.

        Returns ``False`` if something was kept. The caller then calls :meth:`Transport.send`, perhaps with nothing,
        which sends the kept datagrams first.

        Raises:
            trio.BusyResourceError: also if datagrams are still kept.
        """


@runtime_checkable
class AddressedTransport(Transport, Protocol):
    """A transport that knows the addresses of processors, for log messages, as the UDP transports do."""

    def address_of(self, node: int) -> str | None:
        """Return the address of a node as a person writes it (``10.0.0.1:5001``): the destination of unicasts to the
        node, or the address from which it was last heard. For this node itself, it is the source address of this
        transport, as far as the transport knows it.

        Returns ``None`` if the address is not known. Works on a closed transport too. May be called from any thread.
        """

    def claims_of(self, node: int) -> str | None:
        """Return the last other address from which a datagram came that claims to come from this node.

        Two processes may have one id, a processor may have come back at another address, or a table may be wrong.
        Claims to come from this processor's own node count too. A claim proves nothing: anyone who can send datagrams
        to this host can make it.

        Returns ``None`` if there was no such claim. Works on a closed transport too. May be called from any thread.
        """


@runtime_checkable
class BackgroundTransport(Transport, Protocol):
    """A transport with background work beside sending and receiving, such as repeated look-ups of names.

    :func:`ringproto.open_ring` runs it in its nursery while the transport is in use, with either driver. A program that
    uses a transport alone runs it in a nursery of its own: ``nursery.start_soon(transport.run_background)``. Without it
    only the background work is missing; everything else works.
    """

    async def run_background(self) -> None:
        """Run the background work until cancelled. After the transport is closed, it returns within a second.

        Network errors never raise. All tasks are children of this call.

        Raises:
            trio.BusyResourceError: another task runs it.

        Cancellation: undoes nothing that was done. The method may be called again.
        """


@runtime_checkable
class PacedTransport(Transport, Protocol):
    """A transport that waits for signs of life and needs to know their period, as multicast UDP does."""

    def set_pace(self, merge_detect_s: float) -> None:
        """Tell the transport the beacon period of the ring that uses it from now on: ``Config.merge_detect_s``, in
        seconds.

        :func:`ringproto.open_ring` calls it before anything is sent. A value that was given when the transport was
        opened takes precedence.
        """


@runtime_checkable
class BlockingTransport(Transport, Protocol):
    """A transport that a thread unknown to trio can use: ``open_ring(..., driver="thread")`` requires it.

    The promises are those of :class:`Transport`. Between two waits a call holds Python's global lock where it can, so
    that a thread beside a busy program acquires the lock once for each wake-up.
    """

    def begin_blocking(self) -> None:
        """Switch to blocking use. Call it once, before the other three methods. :meth:`send` and :meth:`receive` must
        not be used afterwards.

        Raises:
            trio.ClosedResourceError: the transport is closed.
        """

    def send_blocking(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Send as :meth:`Transport.send` does, on the thread, with the same errors."""

    def receive_blocking(self, timeout_s: float) -> list[bytes]:
        """Wait for datagrams, at most ``timeout_s`` seconds or until :meth:`interrupt`, and return some of those that
        arrived.

        The list is empty if none arrived. Datagrams that have arrived are returned even if the time is 0.

        Raises:
            trio.ClosedResourceError: the transport is closed.
        """

    def interrupt(self) -> None:
        """Make :meth:`receive_blocking` return, or its next call if no call is in progress. May be called from any
        thread."""
