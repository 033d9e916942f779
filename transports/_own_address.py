"""The own entry of a table of peers: which of its addresses is bound, and where its name leads when that one is gone.

An address that is gone may come back, or the name leads to another one (DHCP). So the name is looked up while the
address is not there, and also while it reaches less far than the peers are away: a host whose network is not up yet
has a name too, which leads to its loopback interface.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

import trio

from ringproto.transports._addresses import format_packed, reach, unpack_address, unusable, without_scope
from ringproto.transports._binding import bound_socket
from ringproto.transports._interface import AddressInUseError, TransportError
from ringproto.transports._names import LOOKUP_S, look_up, may_move
from ringproto.transports._peers import PeerTable
from ringproto.transports._tables import of_family

__all__ = ["ADDRESS_GONE", "OwnAddress", "bind_own"]

ADDRESS_GONE = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO, errno.EINVAL})
"""What the system says when an address is bound that is not there any more, or whose interface is another one."""


def bind_own(node: int, family: int, addresses: Sequence[bytes]) -> tuple[bytes, socket.socket]:
    """The first of these that is an address of this host, and a socket that is bound to it.

    Those that reach farther come first, as where peers are chosen (``_peers.py``).

    Raises:
        ValueError: none of them can be that of a processor.
        AddressInUseError: the port of the first that is here is taken. Another one is no way out: whoever has the port
            is perhaps this processor, started twice.
        TransportError: none of them can be bound; what is wrong with the first.
    """
    usable = [address for address in sorted(addresses, key=reach, reverse=True) if not unusable(address)]
    if not usable:
        raise ValueError(f"the own address of node {node}, {format_packed(addresses[0])}, {unusable(addresses[0])}")
    failure: TransportError | None = None
    for address in usable:
        try:
            return address, bound_socket(family, unpack_address(address), f"the own entry of node {node}")
        except AddressInUseError:
            raise
        except TransportError as exc:
            failure = failure or exc
    assert failure is not None
    raise failure


class OwnAddress:
    """Where this processor is, and may go.

    Args:
        table: has the address that is bound.
        family: ``socket.AF_INET`` or ``socket.AF_INET6``.
        host, port: the own entry, as the user gave it.
        limiter: of the look-ups.
    """

    def __init__(self, table: PeerTable, family: int, host: str, port: int, limiter: trio.CapacityLimiter) -> None:
        self.gone = False
        """Whether the address that is bound is not one of this host."""
        self._table = table
        self._family = family
        self._host = host
        self._port = port
        self._limiter = limiter
        self._asking = False
        # Where the name leads, until that was tried.
        self._found: list[bytes] = []

    def lost(self) -> bool:
        """The address is not there; whether that is news."""
        news = not self.gone
        if news:
            self.gone = True
            self._found = []
        return news

    @property
    def due(self) -> bool:
        """Whether the name is to be looked up now."""
        return not self._asking and may_move(self._host) and (self.gone or self._table.beyond() is not None)

    async def look_up(self) -> None:
        """Ask where the name leads."""
        self._asking = True
        try:
            answer = await look_up(self._host, self._port, LOOKUP_S, self._limiter)
            self._found, _ = of_family(answer, self._family)
        finally:
            self._asking = False

    def bind_elsewhere(self) -> tuple[bytes, socket.socket] | None:
        """Another address of this host to which the name leads, as :func:`bind_own`; ``None`` if there is none yet.

        Raises:
            ValueError: the name leads only to addresses to which this processor cannot move.
            AddressInUseError: as :func:`bind_own`.
        """
        found, self._found = [one for one in self._found if one != self._table.own], []
        objections = {address: self._objection(address) for address in found}
        usable = [address for address in found if not objections[address]]
        if found and not usable:
            raise ValueError(f"{format_packed(found[0])} {objections[found[0]]}")
        try:
            return bind_own(self._table.node, self._family, usable) if usable else None
        except AddressInUseError:
            raise
        except TransportError:
            return None  # not here yet

    def _objection(self, address: bytes) -> str:
        """Why this processor cannot move there; empty if it can."""
        if self.gone and without_scope(address) == without_scope(self._table.own):
            return ""  # the user's address, whose interface was put in again
        return self._table.own_objection(address)
