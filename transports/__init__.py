"""Transports carry datagrams between processors: in memory, by unicast UDP, by multicast UDP, or by your own class.

Every transport keeps the promises of :class:`Transport`; ``ringproto.testing.transport_contract`` checks them. A
transport knows trio, sockets and interfaces. It does not know the ring: it reads the contents of a datagram only if the
datagram comes from an unexpected address, to tell an operator which node it claims to come from.
"""

from __future__ import annotations

if __name__ != "ringproto.transports":
    # The folder is at the top of the source tree, where Python also finds it under the wrong name ``transports``.
    raise ImportError(
        f"this package is ringproto.transports, not {__name__}: write `from ringproto.transports import ...` "
        "(and if another package named `transports` was wanted, leave the source folder of ringproto)"
    )

from ringproto.transports._interface import (
    AddressedTransport,
    AddressInUseError,
    BackgroundTransport,
    BlockingTransport,
    EagerTransport,
    InterfaceError,
    PacedTransport,
    Transport,
    TransportError,
)
from ringproto.transports.loopback import LoopbackNetwork
from ringproto.transports.multicast_udp import open_multicast_udp
from ringproto.transports.unicast_udp import open_unicast_udp

__all__ = [
    "AddressInUseError",
    "AddressedTransport",
    "BackgroundTransport",
    "BlockingTransport",
    "EagerTransport",
    "InterfaceError",
    "LoopbackNetwork",
    "PacedTransport",
    "Transport",
    "TransportError",
    "open_multicast_udp",
    "open_unicast_udp",
]
