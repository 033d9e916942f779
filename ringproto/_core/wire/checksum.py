"""The checksum of a datagram: CRC-32, four times as fast as zlib's where the processor multiplies without carry."""

from __future__ import annotations

__all__ = ["crc32", "sealed"]

try:
    from ringproto._core.wire._crc32 import crc32, sealed
except ImportError:
    # It was not built, or it says that this processor cannot.
    from zlib import crc32

    def sealed(head: bytes, pieces: list[bytes | memoryview], /) -> bytes:
        """``head`` and what follows it in one, and the checksum of all that at its end, big endian."""
        content = b"".join([head, *pieces])
        return content + crc32(content).to_bytes(4, "big")
