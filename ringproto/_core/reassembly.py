"""Packets into messages: chunks taken apart, pieces put together. The way there is in ``packing.py``.

This runs once for every message at every receiver, so what is done for each chunk is done with plain numbers of C where
it is compiled (``reassembly.pxd``), and constants are taken into local variables before the loop.

A small piece is copied out of its datagram, which can be forgotten then: a view would cost more time than the copy, and
hold the whole datagram for a piece of one byte. Of a large one a view is taken, so that it is copied once, at the end.
"""

from __future__ import annotations

from ringproto._core.wire import (
    CHUNK_CONTROL,
    CHUNK_FIRST,
    CHUNK_LAST,
    CHUNK_PRIORITY,
    CHUNK_SIZE,
    TRAILER_SIZE,
    Packet,
    ring_from_bytes,
)
from ringproto.types import RingId

_VIEW_MIN = 4096
"""The smallest piece of which a view is taken, in bytes."""


class _Partial:
    """The pieces of a message that has begun."""

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.size = 0


class Reassembler:
    """Pieces of messages, in the total order, into messages. At most one message a sender and priority is begun."""

    __slots__ = ("_partial", "_size_max", "dropped")

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._partial: dict[int, _Partial] = {}
        self.dropped = 0
        """Messages without a beginning, or above the maximum: only a stranger can have sent those."""

    def clear(self) -> None:
        """The ring ended: what is unfinished will be begun again, or never was sent whole."""
        self._partial.clear()

    def take_apart(self, packet: Packet) -> list[tuple[int, bytes | None]]:
        """What ends in this packet, one entry for each place in the message order.

        An entry is the chunk's flags with the payload; ``None`` for a message whose pieces are not all here.
        """
        ended: list[tuple[int, bytes | None]] = []
        datagram = packet.datagram
        data = datagram  # compiled it is a pointer: that the chunks lie within was seen to when the packet was made
        at = packet.body
        end = len(datagram) - TRAILER_SIZE
        head = CHUNK_SIZE
        last = CHUNK_LAST
        whole = CHUNK_FIRST | CHUNK_LAST
        control = CHUNK_CONTROL
        size_max = self._size_max
        view_min = _VIEW_MIN
        piece: bytes | memoryview
        while at < end:
            flags = data[at]
            size = data[at + 1] << 8 | data[at + 2]
            at += head
            if flags & whole == whole:
                if size > size_max and not flags & control:
                    self.dropped += 1
                    ended.append((flags, None))
                else:
                    ended.append((flags, data[at : at + size]))
            else:
                key = packet.sender * 4 + (flags & CHUNK_PRIORITY)
                piece = memoryview(datagram)[at : at + size] if size >= view_min else data[at : at + size]
                self._piece(key, flags, piece)
                if flags & last:
                    ended.append((flags, self._finish(key)))
            at += size
        return ended

    def _piece(self, key: int, flags: int, piece: bytes | memoryview) -> None:
        if flags & CHUNK_FIRST:
            self._partial[key] = _Partial()
        partial = self._partial.get(key)
        if partial is None:
            return
        partial.pieces.append(piece)
        partial.size += len(piece)
        if partial.size > self._size_max:
            del self._partial[key]

    def _finish(self, key: int) -> bytes | None:
        partial = self._partial.pop(key, None)
        if partial is None:
            self.dropped += 1
            return None
        return b"".join(partial.pieces)


def unblocked_ring(payload: bytes) -> RingId:
    """The ring id that an unblock names."""
    return ring_from_bytes(payload[1:21])
