"""What ends in a packet, as a list."""

from __future__ import annotations

from ringproto._core.packets.reassembly import Reassembler
from ringproto._core.wire.regular import Packet

__all__ = ["take_apart"]


def take_apart(reassembler: Reassembler, packet: Packet) -> list[tuple[int, bytes | None]]:
    """Flags and payload of each message that ends in it; no payload if pieces of it are missing."""
    reassembler.begin(packet)
    ended = []
    while reassembler.next():
        ended.append((reassembler.flags, reassembler.payload))
    return ended
