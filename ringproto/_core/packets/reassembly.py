"""Packets into messages: chunks taken apart, pieces put together. The way there is in ``packing.py``.

This runs once for every message at every receiver, so it makes no objects but the payloads: who delivers asks for one
message after the other.

A small piece is copied out of its datagram, which can be forgotten then: a view would cost more time than the copy, and
hold the whole datagram for a piece of one byte. Of a large one a view is taken, so that it is copied once, at the end.
What this processor sent itself is not copied at all: the messages stand beside the packet.
"""

from __future__ import annotations

from ringproto._core.wire.regular import (
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

# Numbers of C (reassembly.pxd): what is done for every chunk must not make objects.
_HEAD = CHUNK_SIZE
_TRAILER = TRAILER_SIZE
_PRIORITY = CHUNK_PRIORITY
_CONTROL = CHUNK_CONTROL
_LAST = CHUNK_LAST
_WHOLE = CHUNK_FIRST | CHUNK_LAST
_VIEW = 4096  # the smallest piece of which a view is taken, in bytes


class _PartialMessage:
    """The pieces of a message that has begun."""

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.size = 0


class Reassembler:
    """Pieces of messages, in the total order, into messages. At most one message a sender and priority is begun."""

    __slots__ = (
        "_at",
        "_datagram",
        "_ended",
        "_partial",
        "_place",
        "_sender",
        "_size_max",
        "dropped",
        "flags",
        "payload",
    )

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._partial: dict[int, _PartialMessage] = {}
        self._ended: tuple[list[int], list[bytes]] | None = None
        self._place = 0
        self._datagram = b""
        self._sender = 0
        self._at = 0
        self.flags = 0
        """Of the chunk in which the message ends that :meth:`next` found."""
        self.payload: bytes | None = None
        """That message; ``None`` if its pieces are not all here."""
        self.dropped = 0
        """Messages without a beginning, or above the maximum: only a stranger can have sent those."""

    def clear(self) -> None:
        """The ring ended: what is unfinished will be begun again, or never was sent whole."""
        self._partial.clear()

    def begin(self, packet: Packet) -> None:
        """Take this packet apart from now on."""
        self._ended = packet.ended
        self._place = 0
        self._datagram = packet.datagram
        self._sender = packet.sender
        self._at = packet.body

    def next(self) -> bool:
        """Go to the next message that ends in the packet, one for each place in the message order: it is in
        :attr:`flags` and :attr:`payload`. ``False`` if there is none left."""
        if self._ended is not None:
            return self._next_own(self._ended[0], self._ended[1])
        # Compiled it is a pointer: that the chunks lie within was seen to when the packet was made.
        data = self._datagram
        at = self._at
        end = len(self._datagram) - _TRAILER
        while at < end:
            flags = data[at]
            size = data[at + 1] << 8 | data[at + 2]
            at += _HEAD
            self._at = at + size
            self.flags = flags
            if flags & _WHOLE == _WHOLE:
                if size > self._size_max and not flags & _CONTROL:
                    self.dropped += 1
                    self.payload = None
                else:
                    self.payload = data[at : at + size]
                return True
            key = self._sender * 4 + (flags & _PRIORITY)
            self._piece(
                key, flags, memoryview(self._datagram)[at : at + size] if size >= _VIEW else data[at : at + size]
            )
            if flags & _LAST:
                self.payload = self._finish(key)
                return True
            at = self._at
        return self._leave()

    def _leave(self) -> bool:
        """The packet is taken apart: nothing of it is kept, for the next one may be long in coming."""
        self._ended = None
        self._datagram = b""
        self._at = 0
        self.payload = None
        return False

    def _next_own(self, flags: list[int], payloads: list[bytes]) -> bool:
        """As :meth:`next`, of a packet that this processor filled: it has the messages whole, as all such packets."""
        place = self._place
        if place == len(payloads):
            return self._leave()
        self.flags = flags[place]
        self.payload = payloads[place]
        self._place = place + 1
        return True

    def _piece(self, key: int, flags: int, piece: bytes | memoryview) -> None:
        if flags & CHUNK_FIRST:
            self._partial[key] = _PartialMessage()
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
