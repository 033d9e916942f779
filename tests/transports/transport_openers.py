"""How the tests open each kind of transport. Every opener has the form that the contract asks for."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from ringproto.testing.transport_contract import OpenTransports
from ringproto.transports import LoopbackNetwork, Transport, open_multicast_udp, open_unicast_udp

# Groups of one's own choice, one for each process, so that runs of the tests beside each other do not meet.
GROUP = f"239.192.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """UDP ports that nobody has."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(count)]
    for sock in sockets:
        sock.bind((host, 0))
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


async def open_loopback(nodes: tuple[int, ...]) -> Sequence[Transport]:
    network = LoopbackNetwork()
    return [network.open(node) for node in nodes]


async def open_slow_loopback(nodes: tuple[int, ...]) -> Sequence[Transport]:
    network = LoopbackNetwork(latency_s=0.001)
    return [network.open(node) for node in nodes]


def unicast_opener(host: str, *, offload: bool = True, segment_size: int | None = None) -> OpenTransports:
    async def open_unicast(nodes: tuple[int, ...]) -> Sequence[Transport]:
        peers = {node: (host, port) for node, port in zip(nodes, free_ports(len(nodes), host), strict=True)}
        return [await open_unicast_udp(node, peers, offload=offload, segment_size=segment_size) for node in nodes]

    return open_unicast


def multicast_opener(
    group: str, interface: str, port: int | None = None, *, offload: bool = True, segment_size: int | None = None
) -> OpenTransports:
    async def open_multicast(nodes: tuple[int, ...]) -> Sequence[Transport]:
        chosen = port or free_ports(1)[0]
        return [
            await open_multicast_udp(
                node, group, chosen, interface=interface, offload=offload, segment_size=segment_size
            )
            for node in nodes
        ]

    return open_multicast


def ipv6_reason() -> str | None:
    """Why IPv6 cannot be tested on this host, if it cannot."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as exc:
        return f"this host has no IPv6: {exc}"
    return None
