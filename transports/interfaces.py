"""The network interfaces of this host, and the one that a user means.

This is the only module that knows netifaces. netifaces gives names and addresses; the index, the MTU and the flags come
from the system itself. A user names an interface by its name (``"eth0"``), by one of its addresses (``"10.77.0.1"``) or
by its network (``"10.77.0.0/24"``). A network can be the same on every host of a cluster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Union

import netifaces

from ringproto.transports._detection import Detection, detection_of
from ringproto.transports._interface import InterfaceError

__all__ = ["SHOWN_MAX", "Interface", "describe_interfaces", "find_interface", "former_interface", "is_stopgap"]

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

SHOWN_MAX = 8
"""Maximum number of interfaces in a message, and of addresses for each."""

_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_MULTICAST = 0x1000


@dataclasses.dataclass(frozen=True)
class Interface:
    """One interface, and the address that was chosen on it."""

    name: str
    index: int
    address: Address
    up: bool
    loopback: bool
    multicast: bool
    """Whether it carries multicast. The loopback interface carries IPv4 multicast although its flags do not say so."""
    mtu: int | None
    """Bytes of the largest packet; ``None`` where the system does not report it."""


def find_interface(
    wanted: str, version: int, *, link_local: bool = False, former: Interface | None = None
) -> Interface:
    """Return the interface that ``wanted`` means, with an address of IP ``version`` (4 or 6).

    Args:
        wanted: a name, an address or a network.
        version: 4 or 6.
        link_local: which of several usable IPv6 addresses to prefer: a link-local one, or one of wider scope.
        former: the interface that was found before. It is returned if it still exists with its address and ``wanted``
            means it, unless its address is a stopgap for which :func:`former_interface` finds a replacement.

    Raises:
        ValueError: ``wanted`` is an address or a network of the other IP version, or not a string.
        InterfaceError: there is no such interface, there are several, or it has no such address.
    """
    if not isinstance(wanted, str) or not wanted:
        raise ValueError(
            f"interface must be a name ('eth0'), an address ('10.77.0.1') or a network ('10.77.0.0/24'), not {wanted!r}"
        )
    found = None if former is None else former_interface(wanted, former, link_local=link_local)
    if found is not None:
        return found
    if wanted in _names():
        addresses = _addresses_of(wanted)
        if addresses is not None:
            return _by_name(wanted, addresses, version, link_local)
    address, _, scope = wanted.partition("%")
    network = _parse(address)
    if network is not None and network.version != version:
        raise ValueError(f"interface {wanted!r} is IPv{network.version}, and the group is IPv{version}")
    here = _addresses()
    if network is None:
        raise InterfaceError(f"there is no interface {wanted!r}: there are {_describe(here)}")
    matches = [
        (name, one)
        for name, addresses in here.items()
        if _is_scope(scope, name)
        for one in addresses
        if one.version == version and one in network
    ]
    if not matches:
        raise InterfaceError(f"no interface has an address in {wanted}: there are {_describe(here)}")
    names = sorted({name for name, _ in matches})
    if len(names) > 1:
        raise InterfaceError(f"{wanted} means several interfaces, {_some(names, ' and ')}: give the name of one")
    return _interface(names[0], _best(names[0], [one for _, one in matches], link_local))


def former_interface(wanted: str, former: Interface, *, link_local: bool = False) -> Interface | None:
    """Return the current state of ``former`` if it exists with its address and ``wanted`` means it; else ``None``.

    The result is also ``None`` if its address is a stopgap (see :func:`is_stopgap`) and the interface has a usable
    address that is no stopgap and that ``wanted`` means.

    This queries the system once, while :func:`find_interface` may query it once for each interface.

    Raises:
        InterfaceError: the interface was removed during the query.
    """
    addresses = _addresses_of(former.name) or []
    if former.address not in addresses or not _means(wanted, former.name, former.address):
        return None
    if is_stopgap(former.address, link_local):
        meant = [one for one in addresses if one.version == former.address.version and _means(wanted, former.name, one)]
        if not is_stopgap(_best(former.name, meant, link_local), link_local):
            return None
    return _interface(former.name, former.address)


def describe_interfaces() -> str:
    """Return text that lists the interfaces of this host and their addresses, for messages; only some of them if there
    are many.

    Raises:
        InterfaceError: the system does not list its interfaces.
    """
    return _describe(_addresses())


def _describe(here: Mapping[str, Collection[Address]]) -> str:
    return _some([f"{name} ({_some(list(map(str, here[name])), ' ') or 'no address'})" for name in sorted(here)], ", ")


def _some(texts: Sequence[str], between: str) -> str:
    left_out = len(texts) - SHOWN_MAX
    return between.join(texts[:SHOWN_MAX]) + (f" and {left_out} more" if left_out > 0 else "")


def _means(wanted: str, name: str, address: Address) -> bool:
    """Return whether ``wanted`` is the name of an interface, its address, or the network of the address."""
    text, _, scope = wanted.partition("%")
    network = _parse(text)
    if wanted == name or network is None:
        return wanted == name
    return _is_scope(scope, name) and address in network


def _is_scope(scope: str, name: str) -> bool:
    """Return whether the text after the "%" of an address means this interface: it is empty, its name or its index."""
    if scope in ("", name):
        return True
    with contextlib.suppress(OSError):
        return scope.isdecimal() and socket.if_nametoindex(name.partition(":")[0]) == int(scope)
    return False


def is_stopgap(address: Address, link_local: bool = False) -> bool:
    """Return whether the address is a temporary substitute for a missing address.

    A link-local IPv4 address is one (RFC 3927, section 1.9): hosts with a regular address do not reach it. Among IPv6
    addresses the link-local ones are; with ``link_local`` it is the others.
    """
    return address.is_link_local != (link_local and address.version == 6)


def _by_name(name: str, addresses: Collection[Address], version: int, link_local: bool) -> Interface:
    candidates = [one for one in addresses if one.version == version]
    if not candidates:
        others = _some(list(map(str, addresses)), " ") or "no address at all"
        raise InterfaceError(f"interface {name!r} has no IPv{version} address (it has {others})")
    return _interface(name, _best(name, candidates, link_local))


def _best(name: str, candidates: Sequence[Address], link_local: bool) -> Address:
    """Return the address of an interface to use: preferably one that may be used and is no stopgap."""
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=lambda one: (not _may_be_used(name, one), is_stopgap(one, link_local)))


def _may_be_used(name: str, address: Address) -> bool:
    if address.version == 4:
        return True
    try:
        index = socket.if_nametoindex(name.partition(":")[0])
    except OSError:
        return False  # the interface was removed
    return detection_of(address, index) is Detection.OVER


def _names() -> list[str]:
    """Return the names of this host's interfaces that are valid UTF-8. A user cannot name another one.

    Raises:
        InterfaceError: the system does not list its interfaces.
    """
    try:
        names = [name for _, name in socket.if_nameindex()]
        if all(map(_is_text, names)):
            return list(netifaces.interfaces())  # also lists the labels of IPv4 addresses, such as eth0:1
        # netifaces crashes the whole process (SIGSEGV) on a name that is not UTF-8.
        return list(filter(_is_text, names))
    except OSError as exc:
        raise InterfaceError(exc.errno, f"the system does not list its interfaces: {exc.strerror}") from exc


def _is_text(name: str) -> bool:
    """Return whether a name that the system gave is UTF-8. Python represents invalid bytes as surrogates."""
    return not any("\ud800" <= one <= "\udfff" for one in name)


def _addresses() -> dict[str, list[Address]]:
    """Return the addresses of each interface by its name. This queries the system once for each interface, and each
    answer lists all of them.

    Raises:
        InterfaceError: the system does not list its interfaces.
    """
    # An interface that was removed after it was listed is left out. This is common for those of containers.
    found = {name: _addresses_of(name) for name in _names()}
    return {name: addresses for name, addresses in found.items() if addresses is not None}


def _addresses_of(name: str) -> list[Address] | None:
    """Return the addresses of an interface, IPv4 before IPv6, each in the system's order; ``None`` if the interface
    does not exist."""
    try:
        entries = netifaces.ifaddresses(name)
    except (ValueError, OSError):
        return None  # netifaces raises ValueError
    return [
        ipaddress.ip_address(entry["addr"].partition("%")[0])
        for family in (netifaces.AF_INET, netifaces.AF_INET6)
        for entry in entries.get(family, ())
        if "addr" in entry
    ]


def _parse(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _interface(name: str, address: Address) -> Interface:
    device = name.partition(":")[0]  # an alias such as eth0:1 is an address, not a device
    try:
        index = socket.if_nametoindex(device)
    except OSError as exc:
        # Python's exception has no error number here.
        raise InterfaceError(exc.errno or errno.ENODEV, f"interface {name!r} has gone away") from exc
    flags, mtu = _flags_and_mtu(device)
    if flags is None:
        return Interface(name, index, address, True, address.is_loopback, True, mtu)
    loopback = bool(flags & _IFF_LOOPBACK)
    multicast = bool(flags & _IFF_MULTICAST) or (loopback and address.version == 4)
    return Interface(name, index, address, bool(flags & _IFF_UP), loopback, multicast, mtu)


def _flags_and_mtu(device: str) -> tuple[int | None, int | None]:
    """Return the flags and the MTU that the system reports for a device, or ``None`` where it reports none."""
    if sys.platform != "linux":
        return None, None
    import fcntl

    request = struct.pack("16s16x8x", device.encode())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            flags = struct.unpack_from("=H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)[0]
            mtu = struct.unpack_from("=i", fcntl.ioctl(sock, _SIOCGIFMTU, request), 16)[0]
    except OSError:
        return None, None
    return flags, mtu
