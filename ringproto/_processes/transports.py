"""Opening a transport from a description that fits into JSON, and choosing free ports for processors of one host."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ringproto.transports import Transport, open_multicast_udp, open_unicast_udp

__all__ = ["local_transport", "open_transport"]

_LOOPBACK = "127.0.0.1"


def local_transport(kind: str, nodes: Sequence[int]) -> dict[str, Any]:
    """A description of a transport among processes of this host, on loopback, with ports that are free just now."""
    with ExitStack() as held:
        # All are held until all are chosen, so that they differ.
        ports = [_free_port(held) for _ in nodes]
    if kind == "unicast":
        return {"kind": kind, "peers": {str(node): [_LOOPBACK, port] for node, port in zip(nodes, ports, strict=True)}}
    # A group of the organisation-local scope, drawn so that two runs on one host rarely hear each other; if they do,
    # their cluster names keep them apart.
    group = f"239.192.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
    return {"kind": kind, "group": group, "port": ports[0], "interface": _LOOPBACK}


async def open_transport(node: int, description: Mapping[str, Any]) -> Transport:
    """Open what :func:`local_transport` describes, or the command ``node`` was given; a ``segment_size`` may be in it.

    Raises:
        OSError, ValueError: as the functions of ``ringproto.transports`` do.
    """
    segment_size = description.get("segment_size")
    if description["kind"] == "unicast":
        peers = {int(peer): (host, port) for peer, (host, port) in description["peers"].items()}
        return await open_unicast_udp(node, peers, segment_size=segment_size)
    return await open_multicast_udp(
        node,
        description["group"],
        description["port"],
        interface=description["interface"],
        segment_size=segment_size,
    )


def _free_port(held: ExitStack) -> int:
    probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    probe.bind((_LOOPBACK, 0))
    port: int = probe.getsockname()[1]
    return port
