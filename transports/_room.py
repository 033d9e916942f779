"""Bytes objects that are written piece by piece.

Compiled (``_room.pxd``) the room in which a datagram is put together is the bytes object that is handed on in the end,
and each piece is copied to its place in it, once. Python alone cannot write into one: there it is a ``bytearray``.
"""

from __future__ import annotations

import struct

__all__ = ["empty", "finished", "head", "put"]

_head = struct.Struct(">BBBBHH")


def empty(size: int) -> bytearray:
    """Room for so many bytes, whatever is in them."""
    return bytearray(size)


def put(room: bytearray, at: int, data: bytes, start: int, size: int) -> None:
    """Copy ``size`` bytes of ``data``, from ``start`` on, to their place. All of them must be within both."""
    room[at : at + size] = data[start : start + size]


def finished(room: bytearray, size: int) -> bytes:
    """The first ``size`` bytes, which must all have been put there. The room is not to be used any more."""
    return bytes(room[:size])


def head(place: int, count: int, number: int, size: int) -> bytes:
    """The header of a segment; see ``_segments.py``."""
    return _head.pack(0, place, count, number >> 16, number & 0xFFFF, size)
