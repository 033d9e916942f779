"""Duplicate address detection: whether another host has, or may have, an IPv6 address of this host.

Before an address may be used, the system looks for another host that has it (duplicate address detection, RFC 4862,
section 5.4). During that time the system lists the address and does not let it be bound. If another host has it, this
state is permanent.
"""

from __future__ import annotations

import contextlib
import enum
import ipaddress
from pathlib import Path

__all__ = ["Detection", "detection_of"]

# From <linux/if_addr.h>. An address that failed detection is still flagged as tentative.
_DAD_FAILED = 0x08
_TENTATIVE = 0x40


class Detection(enum.Enum):
    """The progress of the search for another host with an address."""

    OVER = enum.auto()
    """No other host has the address, or the system does not tell, or this host does not have it."""
    UNDER_WAY = enum.auto()
    FAILED = enum.auto()
    """Another host has the address."""


def detection_of(address: ipaddress.IPv6Address, index: int = 0, table: Path = Path("/proc/net/if_inet6")) -> Detection:
    """Return the state of duplicate address detection for an address of this host.

    Args:
        address: the address, without a scope.
        index: the index of its interface; 0 for any.
        table: the file in which the system lists its addresses.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in table.read_text().splitlines():
            # Address, index, prefix length, scope, flags, name
            fields = line.split()
            if int(fields[0], 16) != int(address) or index not in (0, int(fields[1], 16)):
                continue
            flags = int(fields[4], 16)
            if flags & _DAD_FAILED:
                return Detection.FAILED
            if flags & _TENTATIVE:
                return Detection.UNDER_WAY
    return Detection.OVER
