"""The replicated key-value store of the demonstration: a deterministic state machine.

Whoever applies the same records in the same order has the same store, bit for bit. Every record that is applied raises
the store's revision by one; an entry remembers the revision that wrote it, so two replicas that applied the same
records in another order differ, and it remembers how often it was written, so a record applied twice shows. The chain
is a running digest of everything applied: two stores with equal revision and chain have the same history, and that is
how replicas compare their states in a few bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ringproto.cli.demo.records import Record

__all__ = ["CHAIN_EMPTY", "Store", "StoreError", "StoredValue", "contents_hash_of_records"]

CHAIN_EMPTY = bytes(16)
"""The chain of a store to which nothing was applied."""

_ENTRY = struct.Struct("!HIQI")  # length of the key, length of the value, revision, times written


class StoreError(Exception):
    """An encoded part of a store is not what a store writes."""


class StoredValue(NamedTuple):
    """What the store has under one key."""

    value: bytes
    revision: int
    """The store's revision that wrote it."""
    times: int
    """How often the key was written."""


class Store:
    """One replica's state."""

    def __init__(self) -> None:
        self.entries: dict[bytes, StoredValue] = {}
        self.revision = 0
        self.chain = CHAIN_EMPTY

    def put(self, key: bytes, value: bytes) -> None:
        """Apply one record."""
        before = self.entries.get(key)
        self.revision += 1
        self.entries[key] = StoredValue(value, self.revision, before.times + 1 if before else 1)
        digest = hashlib.blake2b(self.chain, digest_size=16)
        digest.update(b"%d " % len(key))
        digest.update(key)
        digest.update(value)
        self.chain = digest.digest()

    def state_hash(self) -> str:
        """A digest of everything: keys, values, revisions, times, chain."""
        digest = hashlib.sha256(b"%d " % self.revision + self.chain)
        for key in sorted(self.entries):
            entry = self.entries[key]
            digest.update(_ENTRY.pack(len(key), len(entry.value), entry.revision, entry.times))
            digest.update(key)
            digest.update(entry.value)
        return digest.hexdigest()

    def contents_hash(self) -> str:
        """A digest of keys, values and times alone, which can be known from the records without the order."""
        return _contents_hash({key: (entry.value, entry.times) for key, entry in self.entries.items()})

    def chunks(self, size: int) -> Iterator[bytes]:
        """The entries, encoded, in parts of about ``size`` bytes. The store must not change meanwhile."""
        part = bytearray()
        for key, entry in self.entries.items():
            part += _ENTRY.pack(len(key), len(entry.value), entry.revision, entry.times)
            part += key
            part += entry.value
            if len(part) >= size:
                yield bytes(part)
                part.clear()
        if part:
            yield bytes(part)

    @staticmethod
    def read_chunk(part: bytes) -> Iterator[tuple[bytes, StoredValue]]:
        """The entries in one part.

        Raises:
            StoreError: the part is cut off.
        """
        offset = 0
        while offset < len(part):
            if offset + _ENTRY.size > len(part):
                raise StoreError("a part of the state ends in the middle of an entry")
            key_length, value_length, revision, times = _ENTRY.unpack_from(part, offset)
            key_end = offset + _ENTRY.size + key_length
            offset = key_end + value_length
            if offset > len(part):
                raise StoreError("a part of the state ends in the middle of an entry")
            yield part[key_end - key_length : key_end], StoredValue(part[key_end:offset], revision, times)


def contents_hash_of_records(records: Iterable[Record]) -> str:
    """What :meth:`Store.contents_hash` must be when each of the records was applied exactly once."""
    return _contents_hash({key: (value, 1) for key, value in records})


def _contents_hash(contents: Mapping[bytes, tuple[bytes, int]]) -> str:
    digest = hashlib.sha256()
    for key in sorted(contents):
        value, times = contents[key]
        digest.update(b"%d %d %d " % (len(key), len(value), times))
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()
