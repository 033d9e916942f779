"""Datagrams larger than a frame: whatever is cut comes out as it was, and nothing else ever does."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import random
import socket
import tracemalloc
import types
from collections import Counter
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_openers import GROUP, free_ports, multicast_opener, unicast_opener

from ringproto.testing.transport_contract import CONTRACT, Check
from ringproto.transports import _room, open_unicast_udp
from ringproto.transports._segments import (
    HEADER_SIZE,
    LATE_MAX,
    MARK,
    NOTICE_ANSWER,
    NOTICE_ASK,
    NOTICE_MTU,
    NOTICES_MAX,
    PADDING_MAX,
    Cutter,
    Joiner,
    extent,
    notice,
)
from ringproto.transports._sockets import Sizes, fitting_sizes

A, B = b"origin a", b"origin b"


class Joining:
    """A joiner with its counters."""

    def __init__(self, size_max: int = 1000, senders_max: int = 2) -> None:
        self.counts: Counter[str] = Counter()
        self.joiner = Joiner(size_max, senders_max, self.counts)

    def take(self, *segments: bytes, origin: bytes = A) -> list[bytes]:
        whole: list[bytes] = []
        for one in segments:
            self.joiner.add(origin, one, whole)
        return whole


def cut(cutter: Cutter, datagram: bytes) -> list[bytes]:
    """The segments of a datagram, as a sender makes them of their heads."""
    segments = []
    for head in cutter.cut(datagram):
        start, size, padding = extent(head, len(datagram))
        segments.append(head + datagram[start : start + size] + bytes(padding))
    return segments


def segment(place: int, count: int, number: int, piece: bytes, padding: int = 0) -> bytes:
    """A segment by hand, as docs/transports.md lays it out."""
    head = bytes([0, place, count]) + number.to_bytes(3, "big") + len(piece).to_bytes(2, "big")
    return head + piece + bytes(padding)


@functools.cache
def interpreted() -> types.ModuleType:
    """The module from its source, whether it is compiled or not."""
    source = Path(_room.__file__).with_name("_segments.py")
    spec = importlib.util.spec_from_file_location("interpreted_segments", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(size_max: int = 1000) -> st.SearchStrategy[bytes]:
    """Datagrams; one in some begins with the mark."""
    return st.builds(
        lambda head, size, seed: bytes([head]) + random.Random(seed).randbytes(size),
        st.sampled_from((MARK, 1, 255)),
        st.integers(0, size_max - 1),
        st.integers(0, 2**16),
    )


# Cutting and joining


@given(st.integers(HEADER_SIZE + 8, 400), st.lists(texts(), min_size=1, max_size=5))
def test_what_is_cut_comes_out_as_it_was(size: int, sent: list[bytes]) -> None:
    cutter, joining = Cutter(size), Joining()
    got: list[bytes] = []
    for datagram in sent:
        if len(datagram) <= size and datagram[0] != MARK:
            got += joining.take(datagram)
        else:
            segments = cut(cutter, datagram)
            assert all(HEADER_SIZE < len(one) <= size for one in segments)
            assert {len(one) for one in segments[:-1]} <= {size}
            got += joining.take(*segments)
    assert got == sent
    assert not joining.counts


@given(st.lists(texts(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_order_and_copies_within_a_datagram_do_not_matter(sent: list[bytes], chance: random.Random) -> None:
    cutter, joining = Cutter(100), Joining()
    got: list[bytes] = []
    copies = 0
    for datagram in sent:
        segments = cut(cutter, datagram)
        copies += len(segments)
        segments *= 2
        chance.shuffle(segments)
        got += joining.take(*segments)
    assert got == sent
    assert joining.counts["drops_late_segment"] == copies
    assert set(joining.counts) == {"drops_late_segment"}


def test_layout_is_the_one_of_the_document() -> None:
    cutter = Cutter(18)
    (first, last) = cut(cutter, b"0123456789abcdefghi")
    number = int.from_bytes(first[3:6], "big")
    assert first == segment(0, 2, number, b"0123456789")
    assert last == segment(1, 2, number, b"abcdefghi", padding=1)
    (alone,) = cut(cutter, b"\0x")
    assert alone == segment(0, 1, (number + 1) % 2**24, b"\0x")


@pytest.mark.parametrize("short", [0, 1, PADDING_MAX, PADDING_MAX + 1, 191])
def test_last_segment_that_lacks_little_is_filled_up(short: int) -> None:
    segments = cut(Cutter(200), b"x" * (3 * 192 - short))
    assert len(segments) == 3
    assert len(segments[-1]) == (200 if short <= PADDING_MAX else 200 - short)


def test_numbers_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: (2**24 - 3).to_bytes(size, "big"))
    cutter, joining = Cutter(100), Joining()
    numbers = []
    for text in (b"\0a", b"\0b", b"\0c", b"\0d"):
        segments = cut(cutter, text)
        numbers.append(int.from_bytes(segments[0][3:6], "big"))
        assert joining.take(*segments, *segments) == [text]
    assert numbers == [2**24 - 2, 2**24 - 1, 0, 1]
    assert joining.counts == {"drops_late_segment": 4}


def test_number_of_long_ago_does_not_go_on_where_that_one_was() -> None:
    # Of 65,535 datagrams that a sender cut meanwhile nothing came here.
    joining = Joining()
    joining.take(segment(0, 2, 7, b"a"))
    assert joining.take(segment(1, 2, 7 + 2**16, b"b")) == []
    assert joining.take(segment(0, 2, 7 + 2**16, b"c")) == [b"cb"]
    assert joining.counts == {"drops_incomplete": 1}


def test_datagrams_between_segments_keep_their_places() -> None:
    joining = Joining()
    sent = [b"first", segment(0, 2, 7, b"ab"), b"second", segment(1, 2, 7, b"cd"), b"third"]
    assert joining.take(*sent) == [b"first", b"second", b"abcd", b"third"]


def test_senders_do_not_disturb_each_other() -> None:
    joining = Joining()
    first, last = segment(0, 2, 7, b"0"), segment(1, 2, 7, b"1")
    assert joining.take(first, origin=A) == joining.take(first, origin=B) == []
    assert joining.take(last, origin=A) == joining.take(last, origin=B) == [b"01"]


# Loss, copies and bad input


def test_datagram_that_lacks_a_segment_is_dropped_when_the_next_one_comes() -> None:
    joining = Joining()
    assert joining.take(segment(0, 3, 7, b"a"), segment(2, 3, 7, b"c")) == []
    assert joining.take(segment(0, 2, 8, b"d"), segment(1, 2, 8, b"e")) == [b"de"]
    assert joining.counts == {"drops_incomplete": 1}


def test_late_segment_does_not_end_the_datagram_in_the_making() -> None:
    joining = Joining()
    joining.take(segment(0, 2, 7, b"a"), segment(1, 2, 7, b"b"), segment(0, 2, 8, b"c"))
    assert joining.take(segment(1, 2, 7, b"b"), segment(0, 2, (8 - LATE_MAX) % 2**24, b"x")) == []
    assert joining.take(segment(1, 2, 8, b"d")) == [b"cd"]
    assert joining.take(segment(1, 2, 8, b"d")) == []
    assert joining.counts == {"drops_late_segment": 3}


@pytest.mark.parametrize("number", [9, 7 + 2**23, (8 - LATE_MAX - 1) % 2**24])
def test_sender_that_starts_anew_is_heard(number: int) -> None:
    joining = Joining()
    joining.take(segment(0, 2, 8, b"a"), segment(1, 2, 8, b"b"))
    assert joining.take(segment(0, 1, number, b"new")) == [b"new"]
    assert not joining.counts


@pytest.mark.parametrize(
    "bad",
    [
        b"\0",
        bytes(HEADER_SIZE),
        segment(0, 2, 7, b""),
        segment(0, 0, 7, b"a"),
        segment(2, 2, 7, b"a"),
        segment(0, 2, 7, b"a", padding=1),
        segment(0, 1, 7, b"abc")[:-1],
        segment(0, 1, 7, b"x" * 1001),
    ],
)
def test_bad_segment_is_counted_and_dropped(bad: bytes) -> None:
    joining = Joining()
    assert joining.take(bad) == []
    assert joining.counts == {"drops_bad_segment": 1}


@pytest.mark.parametrize("bad", [segment(1, 3, 7, b"b"), segment(1, 2, 7, b"x" * 1000), segment(1, 2, 7, b"xx")])
def test_segment_that_contradicts_the_others_does_not_spoil_them(bad: bytes) -> None:
    joining = Joining()
    joining.take(segment(0, 2, 7, b"a"))
    assert joining.take(bad) == []
    assert joining.take(segment(1, 2, 7, b"b")) == [b"ab"]
    assert joining.counts == {"drops_bad_segment": 1}


def test_piece_of_another_size_than_the_others_is_bad() -> None:
    joining = Joining()
    joining.take(segment(0, 4, 7, b"ab"))
    assert joining.take(segment(1, 4, 7, b"c"), segment(1, 4, 7, b"cde"), segment(3, 4, 7, b"ghi")) == []
    assert joining.counts == {"drops_bad_segment": 3}
    assert joining.take(segment(1, 4, 7, b"cd"), segment(2, 4, 7, b"ef"), segment(3, 4, 7, b"g")) == [b"abcdefg"]


def test_pieces_that_do_not_fit_to_a_last_one_that_came_first_are_bad() -> None:
    joining = Joining(size_max=10)
    assert joining.take(segment(2, 3, 7, b"ghi", padding=2)) == []
    assert joining.take(segment(0, 3, 7, b"ab"), segment(1, 3, 7, b"cdef")) == []
    assert joining.counts == {"drops_bad_segment": 2}
    assert joining.take(segment(1, 3, 7, b"def"), segment(0, 3, 7, b"abc")) == [b"abcdefghi"]


@pytest.mark.parametrize("large", [segment(0, 3, 8, b"x" * 5), segment(2, 3, 8, b"x" * 9), segment(1, 255, 8, b"x")])
def test_segment_of_a_datagram_that_must_be_too_large_begins_none(large: bytes) -> None:
    joining = Joining(size_max=10)
    joining.take(segment(0, 2, 7, b"a"))
    assert joining.take(large) == []
    assert joining.take(segment(1, 2, 7, b"b")) == [b"ab"]
    assert joining.counts == {"drops_bad_segment": 1}


@pytest.mark.parametrize("first", [segment(0, 2, 7, b"x" * 60_000), segment(0, 255, 7, b"x" * 390)])
def test_room_is_bounded_by_the_largest_datagram(first: bytes) -> None:
    size_max, senders = 100_000, 20
    joining = Joining(size_max, senders)
    tracemalloc.start()
    try:
        for number in range(10 * senders):
            joining.take(first, origin=b"%d" % number)
        assert tracemalloc.get_traced_memory()[0] < senders * (size_max + 2000)
    finally:
        tracemalloc.stop()
    assert joining.counts == {"drops_incomplete": 9 * senders}


def test_nothing_is_kept_twice_and_nothing_when_it_is_done() -> None:
    joining = Joining(100_000)
    first, second, last = [segment(place, 3, 7, b"x" * 30_000) for place in range(3)]
    tracemalloc.start()
    try:
        joining.take(last, first)
        assert tracemalloc.get_traced_memory()[0] < 95_000
        assert joining.take(second) == [b"x" * 90_000]
        joining.take(segment(0, 1, 8, b"x" * 60_000), origin=B)
        assert tracemalloc.get_traced_memory()[0] < 5000
    finally:
        tracemalloc.stop()


def test_joined_datagram_ends_where_c_looks_for_its_end() -> None:
    """As all bytes objects do, with a zero, also where less came than there was room for."""
    joining = Joining()
    for number in range(100):
        b"\xff".join([b"\xff" * 199])  # memory that was used, for the room to be in
        (joined,) = joining.take(segment(0, 2, number, b"a" * 100), segment(1, 2, number, b"b" * 50))
        assert ctypes.c_char_p(joined).value == joined == b"a" * 100 + b"b" * 50


def test_datagram_that_is_too_large_is_dropped_however_it_came() -> None:
    joining = Joining(size_max=10)
    assert joining.take(b"x" * 11, b"x" * 10) == [b"x" * 10]
    assert joining.joiner.oversized == 1
    assert joining.take(segment(0, 2, 7, b"x" * 6), segment(1, 2, 7, b"x" * 5)) == []
    assert joining.counts == {"drops_bad_segment": 1}


def test_what_is_kept_is_bounded() -> None:
    joining = Joining(senders_max=2)
    for number in range(100):
        joining.take(segment(0, 2, 7, b"a"), origin=b"%d" % number)
    assert joining.counts == {"drops_incomplete": 98}
    assert joining.take(segment(1, 2, 7, b"b"), origin=b"99") == [b"ab"]
    assert joining.take(segment(1, 2, 7, b"b"), origin=b"97") == []


def test_who_cut_last_is_forgotten_last() -> None:
    joining = Joining(senders_max=2)
    joining.take(segment(0, 2, 1, b"a"), origin=b"busy")
    joining.take(segment(0, 2, 1, b"a"), origin=b"gone")
    joining.take(segment(0, 2, 2, b"a"), origin=b"busy")
    joining.take(segment(0, 2, 1, b"a"), origin=b"new")
    assert joining.take(segment(1, 2, 2, b"b"), origin=b"busy") == [b"ab"]


def fields() -> st.SearchStrategy[bytes]:
    """Segments whose fields are likely to fit together, and sometimes do not. No size: that of the piece."""
    return st.builds(
        lambda place, count, number, size, piece: (
            segment(place, count, number % 2**24, piece)[:6]
            + (len(piece) if size is None else size).to_bytes(2, "big")
            + piece
        ),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from((-65, -64, -1, 0, 1)),
        st.sampled_from((None, None, None, 0, 1, 2, 5, 9, 2**16 - 1)),
        st.binary(min_size=2, max_size=2) | st.binary(max_size=12),
    )


@given(st.lists(st.tuples(st.sampled_from((A, B, b"c")), fields() | st.binary(min_size=1)), max_size=60))
def test_no_bytes_at_all_raise_or_make_more_of_themselves(came: list[tuple[bytes, bytes]]) -> None:
    joining = Joining(size_max=10)
    got: list[bytes] = []
    for origin, datagram in came:
        got += joining.take(datagram, origin=origin)
    assert all(0 < len(one) <= 10 for one in got)
    assert sum(map(len, got)) <= sum(len(datagram) for _, datagram in came)
    dropped = sum(joining.counts.values()) - joining.counts["drops_incomplete"] + joining.joiner.oversized
    assert len(got) + dropped <= len(came)


@given(st.lists(st.tuples(st.sampled_from((A, B, b"c")), fields() | st.binary(min_size=1)), max_size=60))
def test_compiled_and_interpreted_join_alike(came: list[tuple[bytes, bytes]]) -> None:
    seen = []
    for make in (Joiner, interpreted().Joiner):
        counts: Counter[str] = Counter()
        joiner = make(10, 2, counts)
        whole: list[bytes] = []
        for origin, datagram in came:
            joiner.add(origin, datagram, whole)
        seen.append((whole, counts, joiner.oversized))
    assert seen[0] == seen[1]


def test_fields_reach_what_comes_behind_the_checks_of_the_header() -> None:
    joining, whole = Joining(size_max=10), 0

    @settings(max_examples=100)
    @given(st.lists(st.tuples(st.sampled_from((A, B, b"c")), fields()), min_size=10, max_size=60))
    def reach(came: list[tuple[bytes, bytes]]) -> None:
        nonlocal whole
        for origin, datagram in came:
            whole += len(joining.take(datagram, origin=origin))

    reach()
    assert whole and set(joining.counts) == {"drops_bad_segment", "drops_late_segment", "drops_incomplete"}


# Sizes


@pytest.mark.parametrize(
    ("datagram", "segment_size", "header", "local", "sizes"),
    [
        (None, None, 0, False, (8 * 1344, 1352)),
        (None, None, 8, False, (8 * 1336, 1344)),
        (1352, None, 0, False, (1352, 1352)),
        (1352, None, 8, False, (1344, 1344)),
        (None, 8952, 0, False, (8952, 8952)),
        (None, 1000, 0, True, (10 * 992, 1000)),
        (9000, 1000, 0, True, (9000, 1000)),
        (9000, None, 0, True, (9000, 65_507)),
    ],
)
def test_sizes_fit_the_way(
    datagram: int | None, segment_size: int | None, header: int, local: bool, sizes: tuple[int, int]
) -> None:
    assert fitting_sizes(datagram, segment_size, header, local=local) == Sizes(*sizes)


def test_datagram_may_have_255_segments_and_no_more() -> None:
    assert fitting_sizes(255 * 92, 100, 0, local=False) == Sizes(255 * 92, 100)
    assert len(Cutter(100).cut(b"x" * (255 * 92))) == 255
    with pytest.raises(ValueError, match="more than 255 segments of 100 bytes"):
        fitting_sizes(255 * 92 + 1, 100, 0, local=False)


# On sockets


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
async def test_unicast_in_segments_keeps_the_contract(check: Check, offload: bool) -> None:
    await check(unicast_opener("127.0.0.1", offload=offload, segment_size=200))


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_multicast_in_segments_keeps_the_contract(check: Check) -> None:
    await check(multicast_opener(GROUP, "127.0.0.1", segment_size=200))


@pytest.mark.parametrize("kind", ["unicast", "multicast"])
async def test_large_datagrams_to_one_and_to_all_come_in_order(kind: str) -> None:
    opener = unicast_opener("127.0.0.1", segment_size=300)
    if kind == "multicast":
        opener = multicast_opener(GROUP, "127.0.0.1", segment_size=300)
    first, second = await opener((1, 2))
    size = first.datagram_size_max
    sent = [bytes([number]) * (size - 100 * number) for number in range(20)]
    await second.send([(0, b"here")])  # a multicast transport learns where it is
    with trio.fail_after(10):
        assert await first.receive() == [b"here"]
        await first.send([(2 * (number % 2), datagram) for number, datagram in enumerate(sent)])
        got: list[bytes] = []
        while len(got) < len(sent):
            got += await second.receive()
    # By multicast what goes to one and what goes to all are two ways; in each the order is kept.
    assert [one for one in got if one[0] % 2] == sent[1::2] and [one for one in got if not one[0] % 2] == sent[::2]
    statistics = second.statistics()
    assert statistics["datagrams_received"] == len(sent)
    assert first.statistics()["datagrams_sent"] > len(sent)
    assert not [name for name in statistics if name.startswith("drops") and statistics[name]]
    await first.aclose()
    await second.aclose()


async def test_segments_of_other_sizes_than_the_own_are_understood() -> None:
    one, two = free_ports(2)
    peers = {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)}
    first = await open_unicast_udp(1, peers, datagram_size=5000, segment_size=100)
    second = await open_unicast_udp(2, peers, datagram_size=5000)
    for sender, receiver in ((first, second), (second, first)):
        await sender.send([(0, b"x" * 5000)])
        with trio.fail_after(10):
            assert await receiver.receive() == [b"x" * 5000]
    await first.aclose()
    await second.aclose()


async def test_segments_of_strangers_are_not_joined() -> None:
    one, two = free_ports(2)
    first = await open_unicast_udp(1, {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)}, segment_size=100)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        second.bind(("127.0.0.1", two))
        second.sendto(segment(0, 2, 7, b"a"), ("127.0.0.1", one))
        stranger.sendto(segment(1, 2, 7, b"x"), ("127.0.0.1", one))
        second.sendto(segment(1, 2, 7, b"b"), ("127.0.0.1", one))
        with trio.fail_after(10):
            assert await first.receive() == [b"ab"]
    assert first.statistics()["drops_unknown_source"] == 1
    await first.aclose()


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("datagram", "sizes"),
    [
        (b"x" * 100, [100]),
        (b"x" * 101, [100, 17]),
        (b"\0" + b"x" * 91, [100]),
        (b"\0x", [10]),
        (b"x" * 470, [100] * 5 + [18]),
        (b"x" * 500, [100] * 6),
    ],
)
async def test_what_is_on_the_wire(datagram: bytes, sizes: list[int], alone: bool) -> None:
    one, two = free_ports(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.bind(("127.0.0.1", two))
        second.settimeout(10)
        first = await open_unicast_udp(1, {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)}, segment_size=100)
        await first.send([(2, datagram)] if alone else [(2, datagram), (0, datagram)])
        for _ in range(1 if alone else 2):
            assert [len(second.recv(2000)) for _ in sizes] == sizes
        await first.aclose()


async def test_segments_of_two_senders_of_one_group_are_kept_apart() -> None:
    port = free_ports(1)[0]
    first, second, third = await multicast_opener(GROUP, "127.0.0.1", port, segment_size=100)((1, 2, 3))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        # All of it is in the socket before anything is read: one batch, in which the first is to be left out.
        stranger.sendto(b"no header at all, so dropped", (GROUP, port))
        await second.send([(0, b"2" * 500)])
        await third.send([(0, b"3" * 500)])
        with trio.fail_after(10):
            got: list[bytes] = []
            while len(got) < 2:
                got += await first.receive()
    assert sorted(got) == [b"2" * 500, b"3" * 500]
    assert first.statistics()["drops_bad_header"] == 1
    for transport in (first, second, third):
        await transport.aclose()


# Notices


@pytest.mark.parametrize("compiled", [True, False])
def test_notice_is_kept_for_the_transport_and_not_given_to_the_ring(compiled: bool) -> None:
    counts: Counter[str] = Counter()
    joiner = Joiner(100, 2, counts) if compiled else interpreted().Joiner(100, 2, counts)
    whole: list[bytes] = []
    joiner.add(A, notice(NOTICE_MTU, 1280), whole)
    joiner.add(B, notice(NOTICE_ANSWER), whole)
    assert joiner.notices == [(A, NOTICE_MTU, 1280), (B, NOTICE_ANSWER, 0)]
    assert not whole and not counts


@pytest.mark.parametrize(
    "bad", [notice(0), notice(NOTICE_ANSWER + 1), notice(NOTICE_MTU, 1280)[:7], notice(NOTICE_MTU, 1280) + b"x"]
)
def test_what_is_nearly_a_notice_is_dropped(bad: bytes) -> None:
    joining = Joining()
    assert joining.take(bad) == []
    assert joining.counts == {"drops_bad_segment": 1}
    assert joining.joiner.notices == []


def test_notices_that_are_kept_are_bounded() -> None:
    joining = Joining()
    for _ in range(NOTICES_MAX + 3):
        joining.take(notice(NOTICE_ASK))
    assert len(joining.joiner.notices) == NOTICES_MAX
    assert joining.counts == {"drops_bad_segment": 3}
