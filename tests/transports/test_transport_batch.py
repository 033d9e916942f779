"""Reading and writing in batches: the compiled module and the plain one do the same."""

from __future__ import annotations

import errno
import os
import random
import socket
import sys
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_openers import ipv6_reason

from ringproto.transports import _addresses, _plain
from ringproto.transports._segments import Cutter, Joiner, extent

# The compiled module builds on compiled ones, which are not in use when the sources are interpreted.
COMPILED = sys.platform == "linux" and os.environ.get("RINGPROTO_INTERPRETED", "") in ("", "0")
if COMPILED:
    from ringproto.transports import _batch

    FACES: list[types.ModuleType] = [_batch, _plain]
else:
    FACES = [_plain]

only_compiled = pytest.mark.skipif(not COMPILED, reason="the compiled module is for Linux, and not interpreted")

HOSTS = ["127.0.0.1", *(["::1"] if ipv6_reason() is None else [])]


@pytest.fixture(params=FACES, ids=lambda face: face.__name__.rpartition(".")[2])
def face(request: pytest.FixtureRequest) -> types.ModuleType:
    module: types.ModuleType = request.param
    return module


@pytest.fixture(params=HOSTS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two bound, non-blocking sockets on this host."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    sockets = []
    for _ in range(2):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((request.param, 0))
        sock.setblocking(False)
        sockets.append(sock)
    yield sockets[0], sockets[1]
    for sock in sockets:
        sock.close()


_SO_NO_CHECK = 11
SEGMENT = bytes([0, 0, 2, 0, 0, 7, 0, 1]) + b"a"
"""The first of two, of one byte."""
Pair = tuple[socket.socket, socket.socket]


def where(sock: socket.socket) -> bytes:
    return _addresses.pack_address(sock.getsockname())


def send(sender: Any, addresses: Any, datagrams: Any, start: int) -> int:
    """Send whole datagrams."""
    sent: int = sender.send(addresses, [b""] * len(addresses or ()), datagrams, start)
    return sent


def receive(receiver: Any, origins: list[bytes], datagrams: list[bytes]) -> int:
    """Append what waits, none of it in segments, and the origin of each."""
    came: list[bytes] = []
    starts: list[int] = []
    senders: list[bytes] = []

    def introduce(origin: bytes, head: bytes) -> bool:
        senders.append(origin)
        starts.append(len(came))
        return True

    read: int = receiver.receive(Joiner(2**16, 1, Counter()), (), introduce, came)
    for origin, start, end in zip(senders, starts, [*starts[1:], len(came)], strict=False):
        origins += [origin] * (end - start)
    datagrams += came
    return read


def test_datagrams_and_their_origins_come_out_as_they_went_in(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    sender = face.SocketWriter(here, 8, b"HEAD")
    receiver = face.Receiver(there, 8, 100, 4)
    sent = [bytes([number]) * number for number in range(1, 6)]
    assert send(sender, [where(there)] * 5, sent, 0) == 5
    origins: list[bytes] = [b"what was there stays"]
    datagrams: list[bytes] = [b"what was there stays"]
    assert receive(receiver, origins, datagrams) == 5
    assert datagrams == [b"what was there stays", *sent]
    assert origins == [b"what was there stays", *[where(here) + b"HEAD"] * 5]
    assert (sender.datagrams_sent, sender.bytes_sent) == (5, 15)


def test_nothing_waits_is_zero(face: types.ModuleType, pair: Pair) -> None:
    origins: list[bytes] = []
    datagrams: list[bytes] = []
    assert receive(face.Receiver(pair[1], 8, 100), origins, datagrams) == 0
    assert origins == datagrams == []


def test_batches_are_bounded_both_ways(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    sender, receiver = face.SocketWriter(here, 3), face.Receiver(there, 2, 100)
    sent = [b"%d" % number for number in range(5)]
    addresses = [where(there)] * 5
    assert send(sender, addresses, sent, 0) == 3
    assert send(sender, addresses, sent, 3) == 2
    assert send(sender, addresses, sent, 5) == 0
    got: list[bytes] = []
    assert [receive(receiver, [], got) for _ in range(4)] == [2, 2, 1, 0]
    assert got == sent


def test_datagrams_of_several_senders_keep_their_origins(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    receiver = face.Receiver(there, 8, 100)
    for turn in range(2):
        send(face.SocketWriter(here, 1), [where(there)], [b"from another %d" % turn], 0)
        send(face.SocketWriter(there, 1), [where(there)], [b"from itself %d" % turn], 0)
    origins: list[bytes] = []
    datagrams: list[bytes] = []
    assert receive(receiver, origins, datagrams) == 4
    assert origins == [where(here), where(there)] * 2
    assert datagrams == [b"from another 0", b"from itself 0", b"from another 1", b"from itself 1"]


def test_wrong_sizes_are_dropped_and_counted(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    receiver = face.Receiver(there, 8, 10, 4)
    sizes = [0, 1, 4, 5, 14, 15, 5000]
    assert send(face.SocketWriter(here, 8), [where(there)] * len(sizes), [b"x" * size for size in sizes], 0) == len(
        sizes
    )
    datagrams: list[bytes] = []
    assert receive(receiver, [], datagrams) == len(sizes), "dropped ones count as read"
    assert [len(datagram) for datagram in datagrams] == [1, 10]
    assert (receiver.undersized, receiver.oversized) == (3, 2)


def test_own_datagrams_are_skipped_and_counted(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    receiver = face.Receiver(there, 8, 10, 2, where(here) + b"me")
    for header in (b"me", b"it", b"me"):
        send(face.SocketWriter(here, 1, header), [where(there)], [b"x"], 0)
    origins: list[bytes] = []
    assert receive(receiver, origins, []) == 3
    assert origins == [where(here) + b"it"]
    assert receiver.skipped == 2


def cut(datagrams: list[bytes], size: int) -> tuple[list[bytes], list[bytes]]:
    """What a sender takes for segments of these: heads and datagrams."""
    cutter = Cutter(size)
    heads = [(head, datagram) for datagram in datagrams for head in cutter.cut(datagram)]
    return [head for head, _ in heads], [datagram for _, datagram in heads]


def test_segments_are_sent_and_put_together(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    sent = [bytes([number]) * (1 + 997 * number) for number in range(6)]
    heads, datagrams = cut(sent, 400)
    sender = face.SocketWriter(here, 64, b"HEAD", True)
    assert sender.send([where(there)] * len(heads), heads, datagrams, 0) == len(heads) == sender.datagrams_sent
    receiver = face.Receiver(there, 64, 5000, 4, None, True)
    counts: Counter[str] = Counter()
    joiner = Joiner(4986, 1, counts)
    got: list[bytes] = []
    known = {where(here) + b"HEAD"}
    while receiver.receive(joiner, known, lambda origin: False, got):
        pass
    assert got == sent
    assert not counts


@pytest.mark.parametrize("segment", [True, False], ids=["offload", "plain"])
@given(
    sent=st.lists(st.tuples(st.integers(1, 600), st.booleans()), min_size=1, max_size=12),
    size=st.integers(16, 200),
    header=st.sampled_from((b"", b"HEAD")),
    count=st.integers(1, 30),
)
def test_what_is_on_the_wire_is_what_extent_says(
    segment: bool, sent: list[tuple[int, bool]], size: int, header: bytes, count: int
) -> None:
    """Whole datagrams and segments mixed, in as many calls as it takes."""
    cutter = Cutter(size)
    heads: list[bytes] = []
    datagrams: list[bytes] = []
    for length, whole in sent:
        datagram = random.Random(length).randbytes(length)
        cuts = [b""] if whole else cutter.cut(datagram)
        heads += cuts
        datagrams += [datagram] * len(cuts)
    expected = []
    for head, datagram in zip(heads, datagrams, strict=True):
        start, length, padding = extent(head, len(datagram))
        expected.append(header + head + datagram[start : start + length] + bytes(padding))
    for face in FACES:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        ):
            there.bind(("127.0.0.1", 0))
            there.setblocking(False)
            sender = face.SocketWriter(here, count, header, segment)
            got: list[bytes] = []
            while len(got) < len(heads):
                taken = sender.send([where(there)] * len(heads), heads, datagrams, len(got))
                assert 0 < taken <= count
                got += [there.recv(1000) for _ in range(taken)]
            assert got == expected
            assert sender.datagrams_sent == len(expected)
            assert sender.bytes_sent == sum(len(one) - len(header) for one in expected)


@pytest.mark.parametrize(
    "head",
    [
        SEGMENT[:7],
        SEGMENT[:8] + b"x",
        bytes([0, 0, 1, 0, 0, 7, 0, 11]),
        bytes([0, 1, 3, 0, 0, 7, 0, 6]),
        bytes([0, 253, 255, 0, 0, 7, 255, 255]),
    ],
)
def test_head_of_no_segment_of_its_datagram_is_refused(face: types.ModuleType, pair: Pair, head: bytes) -> None:
    sender = face.SocketWriter(pair[0], 8)
    with pytest.raises(ValueError, match="segment"):
        sender.send([where(pair[1])], [head], [b"x" * 10], 0)
    assert sender.datagrams_sent == 0


def test_stranger_is_asked_about_for_each_datagram_and_takes_no_place(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    counts: Counter[str] = Counter()
    joiner = Joiner(100, 1, counts)
    friend = where(there)
    joiner.add(friend, SEGMENT, [])
    asked: list[bytes] = []

    def introduce(origin: bytes, head: bytes) -> bool:
        asked.append(origin)
        return len(asked) == 4  # a datagram of its own says who it is

    send(face.SocketWriter(here, 8, b"", True), [where(there)] * 5, [SEGMENT] * 3 + [b"I am a member now"] * 2, 0)
    receiver = face.Receiver(there, 8, 100, 0, None, True)
    got: list[bytes] = []
    while receiver.receive(joiner, {friend}, introduce, got):
        pass
    assert asked == [where(here)] * 4
    assert got == [b"I am a member now"] * 2
    assert not counts, "and what the friend has in the making is still there"


def test_origin_of_the_last_welcome_datagram_is_kept(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    receiver = face.Receiver(there, 8, 100, 4)
    welcome = where(here) + b"GOOD"
    for header in (b"GOOD", b"EVIL"):
        assert send(face.SocketWriter(here, 8, header), [where(there)], [b"x"], 0) == 1
    came: list[bytes] = []
    assert receiver.receive(Joiner(2**16, 1, Counter()), {welcome}, lambda origin, head: False, came) == 2
    assert came == [b"x"]
    assert receiver.last_origin == welcome


def test_who_is_no_longer_known_is_asked_about_again(face: types.ModuleType, pair: Pair) -> None:
    """As on multicast: one processor comes from a new address, so the old one is not welcome any more."""
    here, there = pair
    known = {where(here)}
    asked: list[bytes] = []

    def introduce(origin: bytes, head: bytes) -> bool:
        asked.append(origin)
        known.discard(where(here))
        return origin == where(there)

    receiver = face.Receiver(there, 8, 100)
    got: list[bytes] = []
    for sender, text in ((here, b"a"), (there, b"b"), (here, b"c")):
        send(face.SocketWriter(sender, 1), [where(there)], [text], 0)
    receiver.receive(Joiner(100, 1, Counter()), known, introduce, got)
    send(face.SocketWriter(here, 1), [where(there)], [b"d"], 0)
    known.add(where(here))
    receiver.receive(Joiner(100, 1, Counter()), known, introduce, got)
    assert got == [b"a", b"b", b"d"]
    assert asked == [where(there), where(here)]


def test_error_of_the_first_datagram_is_returned(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    sender = face.SocketWriter(here, 8)
    too_long = bytes(70_000)
    addresses = [where(there)] * 3
    assert send(sender, addresses, [too_long, b"b", b"c"], 0) == -errno.EMSGSIZE
    assert send(sender, addresses, [b"a", too_long, b"c"], 0) == 1, "an error behind the first ends the call"
    assert send(sender, addresses, [b"a", too_long, b"c"], 1) == -errno.EMSGSIZE
    assert send(sender, addresses, [b"a", too_long, b"c"], 2) == 1
    assert sender.datagrams_sent == 2


def test_closed_socket_is_an_error_number(face: types.ModuleType, pair: Pair) -> None:
    here, there = pair
    address = where(there)
    sender, receiver = face.SocketWriter(here, 8), face.Receiver(there, 8, 100)
    here.close()
    there.close()
    assert send(sender, [address], [b"x"], 0) == -errno.EBADF
    assert receive(receiver, [], []) == -errno.EBADF


def test_packed_address_of_another_length_is_refused(face: types.ModuleType, pair: Pair) -> None:
    sender = face.SocketWriter(pair[0], 8)
    with pytest.raises(ValueError, match="a packed address has 6 or 22 bytes, not 5"):
        send(sender, [b"short"], [b"x"], 0)
    assert sender.datagrams_sent == 0


@only_compiled
@pytest.mark.parametrize(("count", "size"), [(0, 10), (5000, 10), (1, 0), (1, 2**20)])
def test_compiled_module_bounds_its_buffers(count: int, size: int, pair: Pair) -> None:
    with pytest.raises(ValueError, match="count must be 1 to 1024"):
        _batch.Receiver(pair[0], count, size)


@only_compiled
def test_compiled_module_does_not_take_what_is_not_bytes(pair: Pair) -> None:
    sender = _batch.SocketWriter(pair[0], 8)
    for addresses, datagrams in (([None], [b"x"]), ([where(pair[1])], ["text"]), (None, []), ([], None)):
        with pytest.raises(TypeError):
            send(sender, addresses, datagrams, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lists must have one length"):
        send(sender, [], [b"x"], 0)
    with pytest.raises(ValueError, match="start must not be negative"):
        send(sender, [where(pair[1])], [b"x"], -1)


@only_compiled
@given(
    sent=st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=40)), max_size=20),
    count=st.integers(1, 8),
    size=st.integers(1, 24),
    header_size=st.integers(0, 9),
)
def test_both_read_the_same(sent: list[tuple[int, bytes]], count: int, size: int, header_size: int) -> None:
    """The same datagrams through both, in the same batches."""
    sources = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    seen = []
    for face in (_batch, _plain):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            there.bind(("127.0.0.1", 0))
            there.setblocking(False)
            for which, data in sent:
                sources[which].sendto(data, there.getsockname())
            skip = _addresses.pack_address(("127.0.0.1", sources[0].getsockname()[1])) + b"\0" * header_size
            receiver = face.Receiver(there, count, size, header_size, skip)
            origins: list[bytes] = []
            datagrams: list[bytes] = []
            reads = []
            while not reads or reads[-1]:
                reads.append(receive(receiver, origins, datagrams))
            seen.append((reads, origins, datagrams, receiver.skipped, receiver.oversized, receiver.undersized))
    for source in sources:
        source.close()
    assert seen[0] == seen[1]


@given(
    host=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    port=st.integers(0, 65_535),
    scope=st.integers(0, 2**32 - 1),
)
def test_addresses_survive_packing(host: object, port: int, scope: int) -> None:
    address = (str(host), port) if getattr(host, "version", 0) == 4 else (str(host), port, 0, scope)
    packed = _addresses.pack_address(address)
    assert len(packed) in (6, 22)
    unpacked = _addresses.unpack_address(packed)
    assert _addresses.pack_address(unpacked) == packed
    assert unpacked[1:] == address[1:]


def test_addresses_are_written_as_people_write_them() -> None:
    assert _addresses.format_address(("10.0.0.1", 5001)) == "10.0.0.1:5001"
    assert _addresses.format_address(("fe80::1", 5001, 0, 2)) == "[fe80::1%2]:5001"
    assert _addresses.format_address(("fe80::1%eth0", 5001, 0, 2)) == "[fe80::1%eth0]:5001"
    assert _addresses.format_address(("::1", 5001, 0, 0)) == "[::1]:5001"


def test_address_of_another_length_is_no_address() -> None:
    with pytest.raises(ValueError, match="not 7"):
        _addresses.unpack_address(b"7 bytes")


def test_error_behind_datagrams_is_returned_by_the_next_call() -> None:
    """As ``recvmmsg`` does it: what was read before the error is not lost, and the error neither."""

    class Failing:
        def __init__(self) -> None:
            source = ("127.0.0.1", 1)
            self.answers: list[Any] = [(b"a", source), OSError(errno.ENETDOWN, "down"), (b"b", source)]

        def recvfrom(self, size: int) -> Any:
            if not self.answers:
                raise BlockingIOError
            answer = self.answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    receiver = _plain.Receiver(cast(socket.socket, Failing()), 8, 100)
    got: list[bytes] = []
    assert [receive(receiver, [], got) for _ in range(4)] == [1, -errno.ENETDOWN, 1, 0]
    assert got == [b"a", b"b"]


# Segmentation offload


def offloading(pair: Pair, *, count: int = 256, size: int = 1400, header: bytes = b"") -> tuple[Any, Any]:
    """A sender and a receiver that may use it; the test is skipped where the kernel has it not."""
    here, there = pair
    sender = _batch.SocketWriter(here, count, header, True)
    receiver = _batch.Receiver(there, 128, size, len(header), None, True)
    if not receiver.coalesces:
        pytest.skip("this kernel has no UDP_GRO")
    return sender, receiver


def receive_all(receiver: Any) -> tuple[list[bytes], list[bytes], int]:
    origins: list[bytes] = []
    datagrams: list[bytes] = []
    messages = 0
    while (read := receive(receiver, origins, datagrams)) > 0:
        messages += read
    assert read == 0
    return origins, datagrams, messages


@only_compiled
@pytest.mark.parametrize("header", [b"", b"HEADHEAD"])
def test_run_of_one_size_goes_as_few_messages_and_comes_out_as_it_went_in(pair: Pair, header: bytes) -> None:
    sender, receiver = offloading(pair, header=header)
    sent = [bytes([number]) * 1000 for number in range(1, 101)] + [b"a shorter one ends the run"]
    assert send(sender, [where(pair[1])] * 101, sent, 0) == 101
    assert (sender.segments, sender.datagrams_sent, sender.bytes_sent) == (True, 101, 100_026)
    origins, datagrams, messages = receive_all(receiver)
    assert datagrams == sent
    assert origins == [where(pair[0]) + header] * 101
    assert messages <= 4, "64 datagrams are one message at most"


@only_compiled
@given(
    sizes=st.lists(st.sampled_from((1, 2, 99, 100, 101, 1399, 1400)), min_size=1, max_size=300),
    ways=st.lists(st.booleans(), min_size=300, max_size=300),
)
def test_runs_of_any_sizes_to_two_addresses_come_out_as_they_went_in(sizes: list[int], ways: list[bool]) -> None:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**21)
        here, *there = sockets
        receivers = [_batch.Receiver(sock, 128, 1400, 0, None, True) for sock in there]
        sender = _batch.SocketWriter(here, 512, b"", True)
        sent = [b"x%d" % number + bytes(size) for number, size in enumerate(sizes)]
        sent = [one[:size] for one, size in zip(sent, sizes, strict=True)]
        addresses = [where(there[way]) for way in ways[: len(sent)]]
        place = 0
        while place < len(sent):
            taken = send(sender, addresses, sent, place)
            assert taken > 0
            place += taken
        for way, receiver in enumerate(receivers):
            expected = [one for one, other in zip(sent, ways, strict=False) if other == bool(way)]
            assert receive_all(receiver)[1] == expected
            assert receiver.oversized == receiver.undersized == 0
    finally:
        for sock in sockets:
            sock.close()


@only_compiled
def test_each_datagram_of_a_run_is_held_against_the_limits(pair: Pair) -> None:
    sender, receiver = offloading(pair, size=99, header=b"HEAD")
    narrow = [b"x" * 100] * 3 + [b"y" * 99]
    assert send(sender, [where(pair[1])] * 4, narrow, 0) == 4
    assert receive_all(receiver)[1] == [b"y" * 99]
    assert receiver.oversized == 3


@only_compiled
def test_own_datagrams_in_a_run_are_left_out(pair: Pair) -> None:
    here, there = pair
    receiver = _batch.Receiver(there, 128, 100, 2, where(here) + b"me", True)
    assert send(_batch.SocketWriter(here, 16, b"me", True), [where(there)] * 5, [b"mine!"] * 5, 0) == 5
    assert receive_all(receiver)[1] == []
    assert receiver.skipped == 5


@only_compiled
def test_receiver_without_offload_gets_the_same_datagrams(pair: Pair) -> None:
    """The kernel cuts the run for it."""
    sender = _batch.SocketWriter(pair[0], 256, b"", True)
    receiver = _batch.Receiver(pair[1], 16, 1400)
    sent = [bytes([number]) * 500 for number in range(1, 61)]
    assert send(sender, [where(pair[1])] * 60, sent, 0) == 60
    assert receive_all(receiver)[1] == sent
    assert not receiver.coalesces


@only_compiled
@pytest.mark.parametrize("pair", ["127.0.0.1"], indirect=True)  # over IPv6 there is always a checksum
def test_run_that_cannot_be_cut_is_refused_and_sent_one_by_one(pair: Pair) -> None:
    """As on an interface that cannot do it. Here the socket sends no checksums, without which no run is cut."""
    here, there = pair
    here.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
    sender = _batch.SocketWriter(here, 64, b"", True)
    receiver = _batch.Receiver(there, 64, 1400)
    sent = [bytes([number]) * 500 for number in range(1, 11)]
    assert send(sender, [where(there)] * 10, sent, 0) == -errno.EINVAL == -sender.refused
    assert sender.plain == {where(there): errno.EINVAL}
    assert sender.datagrams_sent == 0, "nothing is sent twice"
    assert send(sender, [where(there)] * 10, sent, 0) == 10
    assert receive_all(receiver)[1] == sent
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        here.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 0)
        coalescing = _batch.Receiver(other, 64, 1400, 0, None, True)
        send(sender, [where(there), where(there), where(other), where(other)], [b"one", b"two", b"one", b"two"], 0)
        assert receive(receiver, [], []) == 2, "one by one"
        assert receive(coalescing, [], []) == 1, "and in runs to others"
