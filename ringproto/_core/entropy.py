"""Random numbers that the core does not draw: a stream made of the 16 bytes that it was given."""

from __future__ import annotations

import hashlib


class Entropy:
    """64-bit numbers that nobody can guess who does not know the seed, the same for the same seed."""

    __slots__ = ("_count", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0

    def fork(self) -> Entropy:
        """Another stream: how much is drawn from it changes nothing of this one."""
        return Entropy(hashlib.blake2b(b"fork", key=self._seed, digest_size=16).digest())

    def next(self) -> int:
        self._count += 1
        block = self._count.to_bytes(8, "big")
        return int.from_bytes(hashlib.blake2b(block, key=self._seed, digest_size=8).digest(), "big")
