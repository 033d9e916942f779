"""Packets and windows of a ring, made by hand."""

from __future__ import annotations

from collections.abc import Iterable

from wire_samples import OLD, WHOLE, codec

from ringproto._core.packets.window import Window
from ringproto._core.wire.regular import CHUNK_SAFE, Packet, chunk_head
from ringproto.types import Guarantee, Priority


def chunk(
    payload: bytes, priority: Priority = Priority.HIGH, guarantee: Guarantee = Guarantee.AGREED, ends: int = WHOLE
) -> bytes:
    """One chunk with its head; ``ends`` says whether the message begins and ends in it."""
    flags = int(priority) | ends | (CHUNK_SAFE if guarantee else 0)
    return chunk_head(flags, len(payload)) + payload


def packet(
    seq: int,
    *chunks: bytes,
    sender: int = 1,
    safe: bool = False,
    message_seq: int | None = None,
    ring: bytes = OLD,
) -> Packet:
    """A packet of a ring; by default it holds one message, which says its number, and stands at place ``seq``."""
    guarantee = Guarantee.SAFE if safe else Guarantee.AGREED
    body = b"".join(chunks) or chunk(b"%d" % seq, guarantee=guarantee)
    place = seq - 1 if message_seq is None else message_seq
    return codec(node=sender).encode_data(ring, seq, place, safe, body)


def window(packets: Iterable[Packet], capacity: int = 64) -> Window:
    """A window that holds these."""
    made = Window(capacity)
    for one in packets:
        assert made.insert(one)
    return made
