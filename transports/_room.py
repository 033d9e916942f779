"""Bytes objects that are written piece by piece.

A *room* is the buffer in which a datagram is assembled. In the compiled module (``_room.pxd``) it is the bytes object
that is returned in the end, and each piece is copied once, to its final place. Pure Python cannot write into a bytes
object, so here the buffer is a ``bytearray``.
"""

from __future__ import annotations

import struct

__all__ = ["empty", "finished", "head", "put"]

_head = struct.Struct(">BBBBHH")


def empty(size: int) -> bytearray:
    """Return a buffer of ``size`` bytes with undefined contents."""
    return bytearray(size)


def put(room: bytearray, at: int, data: bytes, start: int, size: int) -> None:
    """Copy ``size`` bytes of ``data``, from ``start`` on, to offset ``at`` of the buffer. All of them must be within
    both."""
    room[at : at + size] = data[start : start + size]


def finished(room: bytearray, size: int) -> bytes:
    """Return the first ``size`` bytes, all of which must have been written. The buffer must not be used afterwards."""
    return bytes(room[:size])


def head(place: int, count: int, number: int, size: int) -> bytes:
    """Return the header of a segment; see ``_segments.py``."""
    return _head.pack(0, place, count, number >> 16, number & 0xFFFF, size)
