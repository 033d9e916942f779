"""The network interfaces of this host, and which of them a person meant.

The only module that knows netifaces. It gives names and addresses; the index, the MTU and the flags come from the
system itself. An interface is meant by its name (``"eth0"``), by one of its addresses (``"10.77.0.1"``) or by the
network it is in (``"10.77.0.0/24"``), which is the form that can be the same on every host of a cluster.
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
"""Most interfaces that a message names, and most addresses of each."""

_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_MULTICAST = 0x1000


@dataclasses.dataclass(frozen=True)
class Interface:
    """One interface, and the address on it that was chosen."""

    name: str
    index: int
    address: Address
    up: bool
    loopback: bool
    multicast: bool
    """Whether it carries multicast. The loopback does for IPv4, although it does not say so."""
    mtu: int | None
    """Bytes of the largest packet; ``None`` where the system does not say."""


def find_interface(
    wanted: str, version: int, *, link_local: bool = False, former: Interface | None = None
) -> Interface:
    """The interface that ``wanted`` means, with an address of IP ``version`` (4 or 6).

    Args:
        wanted: a name, an address or a network.
        version: 4 or 6.
        link_local: which of several IPv6 addresses to take: a link-local one, or a wider one, if there is one that may
            be used.
        former: what was found before. It is taken while it is there with its address and ``wanted`` means it, unless
            that is a stopgap, as :func:`former_interface` has it.

    Raises:
        ValueError: it is an address or a network of the other IP version, or not a string.
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
    """``former`` as it is now, if it is there with its address and ``wanted`` means it; else ``None``.

    A stopgap (see :func:`is_stopgap`) is not taken when an address that is none, that ``wanted`` means and that may be
    used stands beside it.

    It asks the system once, where :func:`find_interface` may ask it once for each interface.

    Raises:
        InterfaceError: it went away while it was looked at.
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
    """The interfaces of this host and their addresses, for messages: some of them, if there are many."""
    return _describe(_addresses())


def _describe(here: Mapping[str, Collection[Address]]) -> str:
    return _some([f"{name} ({_some(list(map(str, here[name])), ' ') or 'no address'})" for name in sorted(here)], ", ")


def _some(texts: Sequence[str], between: str) -> str:
    left_out = len(texts) - SHOWN_MAX
    return between.join(texts[:SHOWN_MAX]) + (f" and {left_out} more" if left_out > 0 else "")


def _means(wanted: str, name: str, address: Address) -> bool:
    """Whether ``wanted`` is the name of an interface, its address or the network of that."""
    text, _, scope = wanted.partition("%")
    network = _parse(text)
    if wanted == name or network is None:
        return wanted == name
    return _is_scope(scope, name) and address in network


def _is_scope(scope: str, name: str) -> bool:
    """Whether what stands behind the "%" of an address is this interface: nothing, its name or its index."""
    if scope in ("", name):
        return True
    with contextlib.suppress(OSError):
        return scope.isdecimal() and socket.if_nametoindex(name.partition(":")[0]) == int(scope)
    return False


def is_stopgap(address: Address, link_local: bool = False) -> bool:
    """Whether it takes the place of an address that is missing, as long as that is so.

    A link-local IPv4 address does (RFC 3927, section 1.9): hosts that have theirs do not reach it. Of IPv6 addresses
    those that are link-local do, or with ``link_local`` those that are not.
    """
    return address.is_link_local != (link_local and address.version == 6)


def _by_name(name: str, addresses: Collection[Address], version: int, link_local: bool) -> Interface:
    candidates = [one for one in addresses if one.version == version]
    if not candidates:
        others = _some(list(map(str, addresses)), " ") or "no address at all"
        raise InterfaceError(f"interface {name!r} has no IPv{version} address (it has {others})")
    return _interface(name, _best(name, candidates, link_local))


def _best(name: str, candidates: Sequence[Address], link_local: bool) -> Address:
    """Which of the addresses of an interface to take: one that may be used and is no stopgap, if there is one."""
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=lambda one: (not _may_be_used(name, one), is_stopgap(one, link_local)))


def _may_be_used(name: str, address: Address) -> bool:
    if address.version == 4:
        return True
    try:
        index = socket.if_nametoindex(name.partition(":")[0])
    except OSError:
        return False  # it has gone away
    return detection_of(address, index) is Detection.OVER


def _names() -> list[str]:
    """The interfaces of this host whose names are UTF-8. A user cannot give another one.

    Raises:
        InterfaceError: the system does not say which interfaces there are.
    """
    try:
        names = [name for _, name in socket.if_nameindex()]
        if all(map(_is_text, names)):
            return list(netifaces.interfaces())  # has the names of IPv4 addresses too, such as eth0:1
        # netifaces ends the whole process (SIGSEGV) when a name is not UTF-8.
        return list(filter(_is_text, names))
    except OSError as exc:
        raise InterfaceError(exc.errno, f"the system does not list its interfaces: {exc.strerror}") from exc


def _is_text(name: str) -> bool:
    """Whether a name that the system gave is UTF-8; Python marks the bytes that are not by surrogates."""
    return not any("\ud800" <= one <= "\udfff" for one in name)


def _addresses() -> dict[str, list[Address]]:
    """Interface name to its addresses. This asks the system once for each interface, and each time it tells of all.

    Raises:
        InterfaceError: the system does not say which interfaces there are.
    """
    # What was removed after it was listed, as those of containers often are, is left out.
    found = {name: _addresses_of(name) for name in _names()}
    return {name: addresses for name, addresses in found.items() if addresses is not None}


def _addresses_of(name: str) -> list[Address] | None:
    """IPv4 before IPv6, each in the order of the system; ``None`` if there is no such interface."""
    try:
        entries = netifaces.ifaddresses(name)
    except (ValueError, OSError):
        return None  # netifaces raises the first of them
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
        # Python gives it no number.
        raise InterfaceError(exc.errno or errno.ENODEV, f"interface {name!r} has gone away") from exc
    flags, mtu = _flags_and_mtu(device)
    if flags is None:
        return Interface(name, index, address, True, address.is_loopback, True, mtu)
    loopback = bool(flags & _IFF_LOOPBACK)
    multicast = bool(flags & _IFF_MULTICAST) or (loopback and address.version == 4)
    return Interface(name, index, address, bool(flags & _IFF_UP), loopback, multicast, mtu)


def _flags_and_mtu(device: str) -> tuple[int | None, int | None]:
    """What the system says of a device, as far as it does."""
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
