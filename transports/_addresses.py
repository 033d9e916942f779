"""Socket addresses as short byte strings.

A transport looks up the source address of each incoming datagram. A packed address is one immutable object. It hashes
fast, C code builds it without the interpreter, and it is the same for every way of reading a datagram:

    IPv4    4 bytes of address, 2 of port                         6 bytes
    IPv6    16 bytes of address, 2 of port, 4 of scope id        22 bytes

All numbers are big endian. The scope id is 0 except for link-local addresses.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from typing import Any

__all__ = [
    "IPV4_SIZE",
    "IPV6_SIZE",
    "WITHOUT_SCOPE",
    "format_address",
    "format_packed",
    "is_wildcard",
    "lacks_scope",
    "pack_address",
    "reach",
    "unpack_address",
    "unusable",
    "without_scope",
]

IPV4_SIZE = 6
IPV6_SIZE = 22

WITHOUT_SCOPE = "is link-local, so it means nothing without its interface: name its interface, such as fe80::1%eth0"
"""Error text for an address for which :func:`lacks_scope` is true."""


@functools.lru_cache(maxsize=1024)
def pack_address(address: tuple[Any, ...]) -> bytes:
    """Return the packed form of an address that the ``socket`` module gave: (host, port) or (host, port, flow,
    scope)."""
    host: str = address[0]
    port: int = address[1]
    if len(address) == 2:
        return socket.inet_pton(socket.AF_INET, host) + port.to_bytes(2, "big")
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    scope: int = address[3]
    return packed + port.to_bytes(2, "big") + scope.to_bytes(4, "big")


@functools.lru_cache(maxsize=1024)
def unpack_address(packed: bytes) -> tuple[Any, ...]:
    """Return the address in the form that the ``socket`` module takes.

    Raises:
        ValueError: ``packed`` is neither 6 nor 22 bytes long.
    """
    if len(packed) == IPV4_SIZE:
        return socket.inet_ntop(socket.AF_INET, packed[:4]), int.from_bytes(packed[4:6], "big")
    if len(packed) == IPV6_SIZE:
        scope = int.from_bytes(packed[18:22], "big")
        return socket.inet_ntop(socket.AF_INET6, packed[:16]), int.from_bytes(packed[16:18], "big"), 0, scope
    raise ValueError(f"a packed address has {IPV4_SIZE} or {IPV6_SIZE} bytes, not {len(packed)}")


def format_address(address: tuple[Any, ...]) -> str:
    """Return the address as a person writes it: ``10.0.0.1:5001``, ``[fe80::1%2]:5001``."""
    host, port = str(address[0]), address[1]
    if len(address) == 2:
        return f"{host}:{port}"
    scope = f"%{address[3]}" if address[3] and "%" not in host else ""
    return f"[{host}{scope}]:{port}"


def format_packed(packed: bytes) -> str:
    """Return the packed address as a person writes it."""
    return format_address(unpack_address(packed))


def is_wildcard(packed: bytes) -> bool:
    """Return whether the address means every address of the host."""
    return _ip(packed).is_unspecified


def unusable(packed: bytes) -> str:
    """Return the reason why no processor can have this address, or an empty string if a processor can."""
    if _ip(packed).is_multicast:
        return "is a multicast group: give an address of one host, or use open_multicast_udp"
    return WITHOUT_SCOPE if lacks_scope(packed) else ""


def reach(packed: bytes) -> int:
    """Return how far a datagram from this address goes: 0 within the host (loopback), 1 on one link, 2 farther."""
    ip = _ip(packed)
    if ip.is_loopback:
        return 0
    return 1 if ip.is_link_local else 2


def without_scope(packed: bytes) -> bytes:
    """Return the address and port without the scope id, to compare addresses on any interface."""
    return packed[:18]


def lacks_scope(packed: bytes) -> bool:
    """Return whether the address is link-local and does not name its link."""
    if len(packed) != IPV6_SIZE or any(packed[18:]):
        return False
    return ipaddress.IPv6Address(packed[:16]).is_link_local


def _ip(packed: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(packed[: -2 if len(packed) == IPV4_SIZE else -6])
