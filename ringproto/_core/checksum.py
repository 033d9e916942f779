"""The checksum of a datagram: CRC-32, four times as fast as zlib's where the processor multiplies without carry."""

from __future__ import annotations

__all__ = ["crc32"]

try:
    from ringproto._core._crc32 import crc32
except ImportError:
    # It was not built, or it says that this processor cannot.
    from zlib import crc32
