"""Bound UDP sockets, and error messages for addresses that cannot be bound."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from typing import Any

from ringproto.transports._addresses import format_address
from ringproto.transports._detection import Detection, detection_of
from ringproto.transports._interface import AddressInUseError, TransportError

__all__ = ["bound_socket", "opening_error"]

_NOT_AVAILABLE = {
    Detection.OVER: "is not an address of this host",
    Detection.UNDER_WAY: "is tentative: the system still looks for another host that has it (duplicate address "
    "detection, which takes a second or so); wait for it, or see `ip -6 addr`",
    Detection.FAILED: "is a duplicate: the system found another host that has it (duplicate address detection), and "
    "does not let it be used nor look again by itself; take it from one of the two, then remove and add it here with "
    "`ip -6 addr`",
}


def bound_socket(family: int, address: tuple[Any, ...], what: str, *, shared: bool = False) -> socket.socket:
    """Return a non-blocking UDP socket bound to ``address``.

    Args:
        family: ``socket.AF_INET`` or ``socket.AF_INET6``.
        address: in the form that ``socket.bind`` takes.
        what: the owner of the address, for the error message.
        shared: whether other processors on this host may bind the same address (multicast groups).

    Raises:
        AddressInUseError: another socket has the address.
        TransportError: the address cannot be bound for another reason.
    """
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as exc:
        raise TransportError(exc.errno, f"no {_family_name(family)} socket can be made here: {exc.strerror}") from exc
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):
                # The BSDs require SO_REUSEPORT. On Linux it would exclude processors of other users.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as exc:
        sock.close()
        place = f"{format_address(address) if address[1] else address[0]}, {what},"
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUseError(exc.errno, f"{place} is taken by another socket on this host") from exc
        if exc.errno == errno.EADDRNOTAVAIL:
            raise TransportError(exc.errno, f"{place} {_NOT_AVAILABLE[_detection(family, address)]}") from exc
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise TransportError(exc.errno, f"{place} may not be used by this user (ports below 1024?)") from exc
        raise TransportError(exc.errno, f"{place} cannot be used: {exc.strerror}") from exc
    return sock


def opening_error(error: OSError) -> TransportError:
    """Return the error for a failure while opening a transport whose address is already bound."""
    if isinstance(error, TransportError):
        return error
    return TransportError(error.errno, f"the transport cannot be opened: {error.strerror}")


def _detection(family: int, address: tuple[Any, ...]) -> Detection:
    """Return whether the system has this address and does not allow its use."""
    if family != socket.AF_INET6:
        return Detection.OVER
    return detection_of(ipaddress.IPv6Address(str(address[0]).partition("%")[0]), address[3] if address[3:] else 0)


def _family_name(family: int) -> str:
    return "IPv6" if family == socket.AF_INET6 else "IPv4"
