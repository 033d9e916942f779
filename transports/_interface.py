"""What the ring asks of a network, written down once.

A transport carries datagrams between processors: unreliable, unordered in general, and cheap. Totem (Amir et al., ACM
TOCS 13(4), 1995, section 3) asks for no more than a broadcast domain in which datagrams may be lost, delayed and
reordered, so everything that makes messages reliable lives above this interface and nothing of it below. Both calls
take and give batches, because datagrams are the price of a ring: one wake-up has to do much work.
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
    """A transport could not be opened. What happens after that is counted in ``statistics()`` and never raised."""


class AddressInUseError(TransportError):
    """Another socket has the address and port."""


class InterfaceError(TransportError):
    """There is no such interface, or it does not have what was asked of it."""


@runtime_checkable
class Transport(Protocol):
    """Datagrams between processors, in batches both ways.

    One task may be in :meth:`send` and one in :meth:`receive` at the same time. A second task in the same one gets
    :class:`trio.BusyResourceError`, if the two meet.

    **May be lost, doubled, delayed and reordered:** every datagram, on any network that is not said to be perfect.
    **Never happens:** a datagram comes out changed, cut short, joined to another, empty or longer than
    ``datagram_size_max``, or at the processor that sent it. On an idle network that loses nothing, the datagrams of one
    sender reach each destination in the order in which they were sent, as far as broadcasts (destination 0) and
    unicasts are each concerned; a unicast may overtake a broadcast or be overtaken by it.
    """

    @property
    def node(self) -> int:
        """The own node id, 1 .. 2**32 - 1."""

    @property
    def datagram_size_max(self) -> int:
        """The largest datagram that :meth:`send` takes, in bytes. It never changes."""

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Hand datagrams to the network, in the order given.

        Each is (destination, datagram). Destination 0 is every other processor, any other number is one node id. A
        unicast to a node whose address is not known is counted and dropped, or sent to everybody where that can be
        done. A datagram to the own node is counted and dropped. Trouble of the network is counted and the datagrams are
        lost; it never raises. When the network takes no more, the call waits for a bounded time and then drops.

        Raises:
            ValueError: a datagram has no bytes or more than ``datagram_size_max``, or a destination is not
                0 .. 2**32 - 1. Nothing was sent.
            TypeError: a datagram is not ``bytes``. Nothing was sent.
            trio.ClosedResourceError: the transport is closed.
            trio.BusyResourceError: another task is sending.

        Cancellation: always noticed on entry, where it sends nothing; noticed again while the network takes no more,
        where what is left of the batch is dropped and counted. Unlike most of trio, a call that need not wait does not
        let other tasks run each time, but at least once in some hundreds of datagrams.
        """

    async def receive(self) -> list[bytes]:
        """Wait until datagrams are there and return some of them: at least one, and a bounded number.

        They come in the order of their arrival. A transport that reads from several sockets gives what was broadcast
        before what was unicast, so that the token does not overtake the messages it speaks of.

        Raises:
            trio.ClosedResourceError: the transport is closed, or was closed while this waited.
            trio.BusyResourceError: another task is receiving.

        Cancellation: loses nothing. What the call did not return, a later call does. It always lets other tasks run.
        """

    async def aclose(self) -> None:
        """Close it. May be called again; later calls of :meth:`send` and :meth:`receive` raise
        :class:`trio.ClosedResourceError`.

        Cancellation: the transport is closed all the same.
        """

    def statistics(self) -> dict[str, int]:
        """Counters since it was opened, and a few gauges. Works on a closed transport too.

        Every transport has ``datagrams_sent``, ``bytes_sent``, ``datagrams_received`` and ``bytes_received`` (bytes of
        the datagrams alone, without headers; a broadcast that goes out as several datagrams counts as several, and so
        does a datagram that is cut to be sent, which counts with what each part has in front of it). What
        was lost here is counted by reason under names that begin with ``drops_``, ``send_errors_`` and
        ``receive_errors_``. A reason that never happened may be missing. A transport that knows how many bytes may wait
        for it in the system says so as ``receive_buffer_bytes``; one processor sends no more than that in one go.
        """


@runtime_checkable
class EagerTransport(Transport, Protocol):
    """A transport that can also send without waiting, as all of this package can; a hop of the token is cheaper so."""

    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        """As :meth:`Transport.send`, with the same errors, but what would have to wait is kept.

        ``False`` if something was kept: then :meth:`Transport.send`, perhaps of nothing, comes next and sends it first.

        Raises:
            trio.BusyResourceError: also if something is kept still.
        """


@runtime_checkable
class AddressedTransport(Transport, Protocol):
    """A transport that can say where processors are, for messages to people, as those over UDP can."""

    def address_of(self, node: int) -> str | None:
        """Where a node is, as a person writes it (``10.0.0.1:5001``): the address at which unicasts to it aim, or at
        which it was last heard. That of the own node is where this transport sends from, as far as it knows.

        ``None`` if it is not known. Works on a closed transport too. From any thread.
        """

    def claims_of(self, node: int) -> str | None:
        """The last other address from which a datagram came that claims to be of this node.

        Two processes may have one id, a processor may have come back at another address, or a table may be wrong.
        Claims to be of the own node count too. A claim proves nothing: whoever can send datagrams here can make it.

        ``None`` if there was none. Works on a closed transport too. From any thread.
        """


@runtime_checkable
class BackgroundTransport(Transport, Protocol):
    """A transport with something to do beside sending and receiving, such as looking names up again.

    :func:`ringproto.open_ring` runs it in its nursery as long as the transport is in use, whatever the driver is. Who
    uses a transport alone does that in a nursery of his own: ``nursery.start_soon(transport.run_background)``. Without
    it everything else works, and what it is for does not happen.
    """

    async def run_background(self) -> None:
        """Do what there is to do until it is cancelled, or for a second at most after the transport was closed.

        Trouble of the network never raises. All tasks are children of this call.

        Raises:
            trio.BusyResourceError: another task runs it.

        Cancellation: changes nothing that was done, and it may be run again.
        """


@runtime_checkable
class PacedTransport(Transport, Protocol):
    """A transport that waits for signs of life, and so wants to know how often they come, as multicast UDP does."""

    def set_pace(self, merge_detect_s: float) -> None:
        """A ring uses it from now on whose beacons come each ``Config.merge_detect_s``, in seconds.

        :func:`ringproto.open_ring` calls it before anything is sent. What the transport was told when it was opened
        counts more.
        """


@runtime_checkable
class BlockingTransport(Transport, Protocol):
    """A transport that one thread can use which trio does not know: what ``open_ring(..., driver="thread")`` takes.

    The promises are those of :class:`Transport`. Between two waits, a call holds Python's global lock where it can, so
    that a thread beside a busy program asks for it once for each wake-up.
    """

    def begin_blocking(self) -> None:
        """Call it once, before the other three. :meth:`send` and :meth:`receive` must not be used any more.

        Raises:
            trio.ClosedResourceError: the transport is closed.
        """

    def send_blocking(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """As :meth:`Transport.send`, on the thread, with the same errors."""

    def receive_blocking(self, timeout_s: float) -> list[bytes]:
        """Wait for datagrams, at most ``timeout_s`` or until :meth:`interrupt`, and return some of what is there.

        The list is empty if there is nothing. What has arrived is returned however short the time is.

        Raises:
            trio.ClosedResourceError: the transport is closed.
        """

    def interrupt(self) -> None:
        """Let :meth:`receive_blocking` return, or its next call, if none is under way. From any thread."""
