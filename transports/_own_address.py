"""This processor's own entry in the table of peers: the address to bind, and the next address if that one is gone.

An address that is gone may come back, or its name may resolve to another one (DHCP). So the name is looked up while the
address is missing. It is also looked up while the address does not reach as far as the peers are: a host whose network
is not up yet has a name too, which resolves to its loopback interface.
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
"""Errors of the system when a socket is bound to an address that no longer exists, or whose interface has changed."""


def bind_own(node: int, family: int, addresses: Sequence[bytes]) -> tuple[bytes, socket.socket]:
    """Return the first of these addresses that this host has, and a socket bound to it.

    Addresses with a greater reach come first, as in the choice of the peers' addresses (``_peers.py``).

    Raises:
        ValueError: none of the addresses can be that of a processor.
        AddressInUseError: the port is taken at the first address that this host has. Another address is no alternative:
            the owner of the port may be this processor, started twice.
        TransportError: no address can be bound; the error is that of the first.
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
    """The address of this processor, and the addresses to which it may move.

    Args:
        table: the table of peers, which has the bound address.
        family: ``socket.AF_INET`` or ``socket.AF_INET6``.
        host, port: the entry of this processor, as the user gave it.
        limiter: the limiter for look-ups.
    """

    def __init__(self, table: PeerTable, family: int, host: str, port: int, limiter: trio.CapacityLimiter) -> None:
        self.gone = False
        """Whether the bound address is not an address of this host."""
        self._table = table
        self._family = family
        self._host = host
        self._port = port
        self._limiter = limiter
        self._asking = False
        # The addresses of the last look-up, until they are tried.
        self._found: list[bytes] = []

    def lost(self) -> bool:
        """Note that the address is gone; return whether this is new."""
        news = not self.gone
        if news:
            self.gone = True
            self._found = []
        return news

    @property
    def due(self) -> bool:
        """Whether a look-up of the name is due."""
        return not self._asking and may_move(self._host) and (self.gone or self._table.beyond() is not None)

    async def look_up(self) -> None:
        """Look up the name and keep its addresses for :meth:`bind_elsewhere`."""
        self._asking = True
        try:
            answer = await look_up(self._host, self._port, LOOKUP_S, self._limiter)
            self._found, _ = of_family(answer, self._family)
        finally:
            self._asking = False

    def bind_elsewhere(self) -> tuple[bytes, socket.socket] | None:
        """Bind another address of this host to which the name resolves, as :func:`bind_own` does; return ``None`` if
        there is none yet.

        Raises:
            ValueError: the name resolves only to addresses to which this processor cannot move.
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
            return None  # this host does not have it yet

    def _objection(self, address: bytes) -> str:
        """Return the reason why this processor cannot move to this address; empty if it can."""
        if self.gone and without_scope(address) == without_scope(self._table.own):
            return ""  # the user's address, on an interface that was removed and added again
        return self._table.own_objection(address)
