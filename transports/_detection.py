"""What the system says of its own IPv6 addresses: whether another host may have the same one, or has.

Before an address may be used the system looks for another host that has it (duplicate address detection, RFC 4862,
section 5.4). Meanwhile, and for good if there is one, it lists the address and does not let it be bound.
"""

from __future__ import annotations

import contextlib
import enum
import ipaddress
from pathlib import Path

__all__ = ["Detection", "detection_of"]

# From <linux/if_addr.h>. An address that failed is tentative still.
_DAD_FAILED = 0x08
_TENTATIVE = 0x40


class Detection(enum.Enum):
    """How far the search for another host with an address is."""

    OVER = enum.auto()
    """Nobody else has it, or the system does not tell, or does not have it at all."""
    UNDER_WAY = enum.auto()
    FAILED = enum.auto()
    """Another host has it."""


def detection_of(address: ipaddress.IPv6Address, index: int = 0, table: Path = Path("/proc/net/if_inet6")) -> Detection:
    """How far it is for an address of this host.

    Args:
        address: without a scope.
        index: that of its interface; 0 for any.
        table: where the system tells its addresses.
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
