"""A multicast group on one interface: its two sockets, and the socket options for sending to it and receiving from
it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
import sys
from typing import Any

from ringproto.transports._binding import bound_socket
from ringproto.transports._interface import InterfaceError, TransportError
from ringproto.transports.interfaces import Interface, describe_interfaces, find_interface, former_interface, is_stopgap

__all__ = ["Group", "GroupMembership", "as_before", "usable_interface"]

Group = ipaddress.IPv4Address | ipaddress.IPv6Address

_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29


def usable_interface(wanted: str, group: Group, former: Interface | None = None) -> Interface:
    """Return the interface that ``wanted`` means, if it can carry the group; preferably ``former``, if that is still
    possible.

    On a host with many interfaces this takes some tenths of a second.

    Raises:
        ValueError, InterfaceError: as :func:`find_interface`, or the interface is down or carries no multicast.
    """
    interface = find_interface(wanted, group.version, link_local=on_link(group), former=former)
    if not interface.up:
        raise InterfaceError(f"interface {interface.name!r} is down: set it up, or choose from {describe_interfaces()}")
    if not interface.multicast:
        hint = "; the loopback interface carries it for IPv4 groups only" if interface.loopback else ""
        raise InterfaceError(
            f"interface {interface.name!r} does not carry IPv{group.version} multicast{hint}: "
            f"choose from {describe_interfaces()}"
        )
    return interface


def as_before(wanted: str, group: Group, former: Interface) -> Interface | None:
    """Return the current state of ``former`` if ``wanted`` still means it and it can carry the group, else ``None``.
    This is fast."""
    try:
        interface = former_interface(wanted, former, link_local=on_link(group))
    except InterfaceError:
        return None
    return interface if interface is not None and interface.up and interface.multicast else None


def on_link(group: Group) -> bool:
    """Return whether this is an IPv6 group that never leaves the link (RFC 4291, section 2.7: a scope of 2 or less)."""
    return group.version == 6 and group.packed[1] & 0x0F <= 2


class GroupMembership:
    """The group on one interface: the sockets and socket options for sending to it and receiving from it.

    Raises:
        AddressInUseError, TransportError: the sockets cannot be made.
    """

    def __init__(self, group: Group, port: int, interface: Interface, ttl: int) -> None:
        self.group = group
        self.port = port
        self.interface = interface
        self.ttl = ttl
        index = interface.index
        if group.version == 4:
            self.family: int = socket.AF_INET
            own: tuple[Any, ...] = (str(interface.address), 0)
            self.destination: tuple[Any, ...] = (str(group), port)
        else:
            self.family = socket.AF_INET6
            own = (str(interface.address), 0, 0, index if interface.address.is_link_local else 0)
            self.destination = (str(group), port, 0, index if on_link(group) else 0)
        bound = self.destination if sys.platform != "win32" else ("", *self.destination[1:])
        self.group_socket = bound_socket(self.family, bound, f"the group on {interface.name}", shared=True)
        try:
            self.own_socket = bound_socket(self.family, own, f"the address of {interface.name}")
        except BaseException:
            self.group_socket.close()
            raise
        self.own_address: tuple[Any, ...] = self.own_socket.getsockname()
        try:
            self._only_own_groups()
            self.join()
        except OSError as exc:
            self.close()
            # Python's exception has no error number if no interface has the name, or if no socket can be made for the
            # query.
            reason = exc.strerror or str(exc)
            raise TransportError(
                exc.errno or errno.ENODEV, f"group {group} cannot be joined on interface {interface.name}: {reason}"
            ) from exc

    @property
    def place(self) -> tuple[object, ...]:
        """The name, index and address of the interface for which the sockets are made."""
        return self.interface.name, self.interface.index, self.interface.address

    @property
    def is_stopgap(self) -> bool:
        """Whether another address of the interface would be better, if it had one."""
        return is_stopgap(self.interface.address, on_link(self.group))

    def close(self) -> None:
        self.group_socket.close()
        self.own_socket.close()

    def _only_own_groups(self) -> None:
        """Receive only what comes in by this interface, and not what other programs joined elsewhere, which Linux
        delivers too."""
        if sys.platform != "linux":
            return
        if self.family == socket.AF_INET:
            self.group_socket.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            return
        try:
            self.group_socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        except OSError as exc:
            if exc.errno != errno.ENOPROTOOPT:  # before Linux 4.20
                raise

    def join(self) -> None:
        """Join the group on the interface, and send by it. May be called again. Then it leaves the group first, so that
        a report goes out from which switches learn of the listener.

        Raises:
            OSError: the interface does not exist, or does not have its address back.
        """
        index = self.send_by(self.own_socket)
        group = self.group.packed
        heard = self.group_socket
        if self.family == socket.AF_INET:
            request = group + self._where(index)
            _again(heard, socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            request = group + struct.pack("@I", index)
            _again(heard, socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, socket.IPV6_JOIN_GROUP, request)

    def send_by(self, sock: socket.socket) -> int:
        """Make a socket send its multicasts by the interface, and return the index of the interface.

        Raises:
            OSError: as :meth:`join`.
        """
        index = socket.if_nametoindex(self.interface.name.partition(":")[0])
        if self.family == socket.AF_INET:
            where = self._where(index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self.ttl)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            if sys.platform == "linux":
                where = self.group.packed + where
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, where)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, self.ttl)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        return index

    def _where(self, index: int) -> bytes:
        """Return the interface in the form that IPv4 needs: the end of a struct ip_mreqn where there is an index, else
        of an ip_mreq."""
        where = self.interface.address.packed
        return where + struct.pack("@i", index) if sys.platform == "linux" else where


def _again(sock: socket.socket, level: int, leave: int, join: int, request: bytes) -> None:
    """Join, after leaving any former membership."""
    with contextlib.suppress(OSError):  # the socket was not a member
        sock.setsockopt(level, leave, request)
    sock.setsockopt(level, join, request)
