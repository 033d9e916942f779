"""The replicated store: what it hashes, and how it travels in chunks."""

from __future__ import annotations

import itertools

import pytest

from ringproto.cli.demo.records import Record
from ringproto.cli.demo.store import CHAIN_EMPTY, Store, StoreError, contents_hash_of_records

RECORDS = [Record(b"key %d" % i, b"value %d" % (i * i)) for i in range(50)]


def filled(records: list[Record]) -> Store:
    store = Store()
    for record in records:
        store.put(*record)
    return store


def test_same_records_in_the_same_order_give_the_same_state() -> None:
    assert filled(RECORDS).state_hash() == filled(RECORDS).state_hash()


def test_another_order_gives_another_state_and_another_chain_but_the_same_contents() -> None:
    one, other = filled(RECORDS), filled(RECORDS[1:2] + RECORDS[:1] + RECORDS[2:])
    assert one.state_hash() != other.state_hash()
    assert one.chain != other.chain
    assert one.contents_hash() == other.contents_hash()


def test_a_record_applied_twice_shows_in_the_contents() -> None:
    assert filled([*RECORDS, RECORDS[3]]).contents_hash() != filled(RECORDS).contents_hash()
    assert filled([*RECORDS, RECORDS[3]]).entries[RECORDS[3].key].times == 2


def test_contents_hash_is_known_from_the_records_alone() -> None:
    assert filled(RECORDS).contents_hash() == contents_hash_of_records(reversed(RECORDS))
    assert filled(RECORDS[1:]).contents_hash() != contents_hash_of_records(RECORDS)


def test_key_and_value_are_kept_apart_in_every_digest() -> None:
    one, other = filled([Record(b"ab", b"c")]), filled([Record(b"a", b"bc")])
    assert one.chain != other.chain
    assert one.state_hash() != other.state_hash()
    assert one.contents_hash() != other.contents_hash()


def test_an_empty_store_has_the_empty_chain() -> None:
    assert Store().chain == CHAIN_EMPTY
    assert list(Store().chunks(100)) == []


@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_chunks_carry_every_entry_whatever_their_size(size: int) -> None:
    store = filled(RECORDS)
    chunks = list(store.chunks(size))
    assert dict(itertools.chain.from_iterable(map(Store.read_chunk, chunks))) == store.entries
    assert len(chunks) == (1 if size == 10**6 else len(chunks))
    assert size > 1 or len(chunks) == len(RECORDS)


@pytest.mark.parametrize("kept", [1, 17, 20, 25])
def test_a_chunk_that_is_cut_off_is_refused(kept: int) -> None:
    (chunk,) = filled(RECORDS[:1]).chunks(1000)
    with pytest.raises(StoreError, match="middle of an entry"):
        list(Store.read_chunk(chunk[:kept]))
