"""Who does not fit: addresses and ids that are not those of the table, two processes with one id, and nobody at all."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from transport_openers import GROUP, free_ports
from trio.testing import MockClock

from ringproto.log import BoundedLog
from ringproto.transports import (
    AddressedTransport,
    BackgroundTransport,
    LoopbackNetwork,
    TransportError,
    open_multicast_udp,
    open_unicast_udp,
)
from ringproto.transports._claims import HEAD_SIZE, Claim, claim_of
from ringproto.transports._segments import NOTICE_ANSWER, NOTICE_ASK, Cutter, notice
from ringproto.transports._sockets import SAID_EVERY_S, SocketTransport
from ringproto.transports.multicast_udp import CLAIMS_MAX, DISPUTE_S, HEADER_SIZE, PEERS_MAX, MulticastUDP
from ringproto.transports.unicast_udp import STRANGERS_MAX, UnicastUDP

CLUSTER = 0x0123456789ABCDEF
DATA, JOIN = 1, 3
Address = tuple[str, int]


def datagram(node: int, kind: int = JOIN, cluster: int = CLUSTER) -> bytes:
    """How one of a ring begins (docs/wire.md, the envelope), and some more."""
    return bytes([1, kind, 0, 0]) + cluster.to_bytes(8, "big") + node.to_bytes(4, "big") + b"and the rest"


class Somebody:
    """A socket that is no transport."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        self.socket.setblocking(False)
        self.name = "{}:{}".format(*self.socket.getsockname())

    def received(self) -> list[bytes]:
        got = []
        while True:
            try:
                got.append(self.socket.recv(2000))
            except BlockingIOError:
                return got


@pytest.fixture
def somebody() -> Any:
    """Makes sockets at an address of the loopback interface."""
    made: list[Somebody] = []

    def make(host: str = "127.0.0.1", port: int = 0) -> Somebody:
        made.append(Somebody(host, port))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


@pytest.fixture
def port() -> int:
    (port,) = free_ports(1, "0.0.0.0")
    return port


@asynccontextmanager
async def in_background(transport: Any) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.run_background)
        yield
        nursery.cancel_scope.cancel()
    await transport.aclose()


async def waiting(transport: SocketTransport) -> list[bytes]:
    """What waits in its sockets."""
    got: list[bytes] = []
    with trio.move_on_after(0.01):
        while True:
            got += await transport.receive()
    return got


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# What a datagram claims


def test_claim_of_a_datagram() -> None:
    assert claim_of(datagram(7)) == Claim(7, CLUSTER, True)
    assert claim_of(datagram(7, DATA)) == Claim(7, CLUSTER, False)
    assert claim_of(datagram(7)[:16]) == Claim(7, CLUSTER, True)


def test_claim_of_a_datagram_that_comes_in_segments_is_in_the_first() -> None:
    whole = datagram(7) * 100
    size = 10 * len(datagram(7))
    heads = Cutter(8 + size).cut(whole)
    first = heads[0] + whole[:size]
    assert claim_of(first) == claim_of(first[:HEAD_SIZE]) == Claim(7, CLUSTER, True)
    assert claim_of(heads[1] + whole[size : 2 * size]) is None, "whatever the application's bytes look like"


@pytest.mark.parametrize(
    "head",
    [b"", b"\0", b"\0\0", datagram(7)[:15], datagram(0), datagram(7, 0), datagram(7, 12), b"\2" + datagram(7)[1:]],
)
def test_what_is_not_of_a_ring_claims_nothing(head: bytes) -> None:
    assert claim_of(head) is None


# Unicast


@pytest.fixture
async def two(port: int, somebody: Any) -> AsyncIterator[tuple[UnicastUDP, Somebody]]:
    """A transport of node 1, and the socket of node 2, at 127.0.0.1 and 127.0.0.2; node 3 is not there."""
    peers = {1: ("127.0.0.1", port), 2: ("127.0.0.2", port), 3: ("127.0.0.3", port)}
    transport = await open_unicast_udp(1, peers)
    yield transport, somebody("127.0.0.2", port)
    await transport.aclose()


async def hears(transport: SocketTransport, sender: Somebody, data: bytes, to: Address) -> list[bytes]:
    sender.socket.sendto(data, to)
    return await waiting(transport)


async def test_who_has_the_faces(two: Any) -> None:
    assert isinstance(two[0], AddressedTransport) and isinstance(two[0], BackgroundTransport)
    assert not isinstance(LoopbackNetwork().open(1), (AddressedTransport, BackgroundTransport))


async def test_peer_that_fits_is_said_nothing_of(two: Any, port: int, caplog: pytest.LogCaptureFixture) -> None:
    first, second = two
    for kind in range(1, 9):
        assert await hears(first, second, datagram(2, kind), ("127.0.0.1", port)) == [datagram(2, kind)]
    # A packet says who originated it, and may be sent again by any member.
    first._origins = set()
    assert await hears(first, second, datagram(3, DATA), ("127.0.0.1", port)) == [datagram(3, DATA)]
    assert lines(caplog) == []
    assert first.claims_of(2) is first.claims_of(3) is None


async def test_id_that_does_not_fit_its_address_is_told_once_and_let_through(
    two: Any, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two
    for _ in range(5):
        first._origins = set()  # as after a look
        assert await hears(first, second, datagram(3), ("127.0.0.1", port)) == [datagram(3)]
    (line,) = lines(caplog)
    assert line.startswith(
        f"datagrams from 127.0.0.2:{port}, where the table of peers has node 2, are of node 3: give all processors one"
    )
    assert first.claims_of(3) == f"127.0.0.2:{port}"
    assert first.statistics()["nodes_misplaced"] == 5


async def test_own_id_from_the_address_of_a_peer_is_told(two: Any, port: int, caplog: pytest.LogCaptureFixture) -> None:
    first, second = two
    await hears(first, second, datagram(1), ("127.0.0.1", port))
    assert "where the table of peers has node 2, are of this processor's own id" in caplog.text
    assert first.claims_of(1) == f"127.0.0.2:{port}"


async def test_id_of_a_peer_from_elsewhere_is_told_once_with_both_addresses_and_dropped(
    two: Any, port: int, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two
    clone = somebody("127.0.0.4", port)
    for _ in range(3):
        assert await hears(first, clone, datagram(2), ("127.0.0.1", port)) == []
        first._noted = set()  # as after a look
    assert await hears(first, second, datagram(2), ("127.0.0.1", port)) == [datagram(2)]
    (line,) = lines(caplog)
    assert line.startswith(
        f"datagrams from 127.0.0.4:{port} are dropped: they are of node 2, which the table of peers has at "
        f"127.0.0.2:{port}; two processes have that id, the tables differ, or"
    )
    assert (first.address_of(2), first.claims_of(2)) == (f"127.0.0.2:{port}", f"127.0.0.4:{port}")
    assert first.statistics()["claims_from_elsewhere"] == 3
    assert first.statistics()["drops_unknown_source"] == 3


async def test_packets_of_a_peer_from_elsewhere_are_dropped_and_blame_nobody(
    two: Any, port: int, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = two
    assert await hears(first, somebody("127.0.0.4", port), datagram(2, DATA), ("127.0.0.1", port)) == []
    assert first.claims_of(2) is None
    assert lines(caplog) == []
    assert first.statistics()["drops_unknown_source"] == 1


async def test_own_id_from_elsewhere_is_told_and_dropped(
    two: Any, port: int, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = two
    assert await hears(first, somebody("127.0.0.4", port), datagram(1), ("127.0.0.1", port)) == []
    (line,) = lines(caplog)
    assert line == (
        f"datagrams from 127.0.0.4:{port} are dropped: they are of node 1, which is this processor at "
        f"127.0.0.1:{port}; two processes have one id, or a table is wrong"
    )
    assert (first.address_of(1), first.claims_of(1)) == (f"127.0.0.1:{port}", f"127.0.0.4:{port}")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (datagram(9), ", of node 9, are dropped: the table of peers does not have that address; all processors must"),
        (datagram(9, DATA), ", of node 9, are dropped: the table of peers does not have that address"),
        (
            b"let me in",
            " are dropped: the table of peers does not have that address, and they do not say of which node",
        ),
        (datagram(2, cluster=5), ", of node 2 of another cluster, are dropped"),
    ],
)
async def test_address_that_is_not_in_the_table_is_told_with_the_id_it_claims(
    two: Any, port: int, somebody: Any, caplog: pytest.LogCaptureFixture, data: bytes, what: str
) -> None:
    first, second = two
    await hears(first, second, datagram(2), ("127.0.0.1", port))  # of whom it learns the cluster
    stranger = somebody("127.0.0.4", port)
    for _ in range(5):
        assert await hears(first, stranger, data, ("127.0.0.1", port)) == []
    (line,) = lines(caplog)
    assert line.startswith(f"datagrams from 127.0.0.4:{port}{what}")
    assert first.claims_of(2) is first.claims_of(9) is None
    assert "claims_from_elsewhere" not in first.statistics()


async def test_strangers_are_told_of_once_a_minute(
    autojump_clock: MockClock, two: Any, port: int, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = two
    first._peers_log = BoundedLog("ringproto.transports", trio.current_time, SAID_EVERY_S)
    stranger, clone = somebody("127.0.0.4", port), somebody("127.0.0.5", port)
    async with in_background(first):
        for _ in range(65):
            for number in range(STRANGERS_MAX + 5):
                stranger.socket.sendto(datagram(10 + number), ("127.0.0.1", port))
                clone.socket.sendto(datagram(3), ("127.0.0.1", port))
            await waiting(first)
            await trio.sleep(1)
    told = lines(caplog)
    for number in range(STRANGERS_MAX):
        assert sum(f"127.0.0.4:{port}, of node {10 + number}," in line for line in told) == 2
    assert sum("127.0.0.4" in line for line in told) == 2 * (STRANGERS_MAX + 1), "the others share one"
    assert sum("127.0.0.5" in line for line in told) == 2
    assert first.statistics()["drops_unknown_source"] == 65 * 2 * (STRANGERS_MAX + 5)


async def test_peer_that_fits_is_looked_at_once_in_a_look(two: Any, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a datagram costs nothing more for all of this."""
    first, second = two
    asked: list[bytes] = []
    introduce = UnicastUDP._introduce

    def counting(self: UnicastUDP, origin: bytes, head: bytes) -> bool:
        asked.append(head)
        return introduce(self, origin, head)

    monkeypatch.setattr(UnicastUDP, "_introduce", counting)
    for look in range(1, 4):
        for _ in range(20):
            await hears(first, second, datagram(2), ("127.0.0.1", port))
        assert asked == [datagram(2)[:HEAD_SIZE]] * look
        first._look()


async def test_silence_of_all_peers_is_told_once_with_what_to_check(
    autojump_clock: MockClock, two: Any, port: int, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two
    stranger = somebody("127.0.0.4", port)
    async with in_background(first):
        await trio.sleep(30)
        assert lines(caplog) == [], "nothing was sent, so there is nothing to answer"
        await first.send([(0, b"is anybody there?")])
        await trio.sleep(4)
        second.socket.sendto(datagram(2), ("127.0.0.1", port))
        await waiting(first)
        await trio.sleep(4)
        assert lines(caplog) == []
        await first.send([(0, b"is anybody there?")])
        stranger.socket.sendto(b"I am", ("127.0.0.1", port))
        await waiting(first)
        await trio.sleep(600)
        (line,) = [line for line in lines(caplog) if "nothing came" in line]
        assert line == (
            "nothing came from any of 2 peers for 5 s, although 2 datagrams were sent to them: if they run, see "
            f"whether their tables have node 1 at 127.0.0.1:{port}, whether this table is theirs, and whether a "
            "firewall drops UDP between them. Meanwhile 1 datagrams from addresses that are not in the table were "
            f"dropped, the last of them from 127.0.0.4:{port}"
        )
        caplog.clear()
        first._log = BoundedLog("ringproto.transports")
        second.socket.sendto(datagram(2), ("127.0.0.1", port))
        await waiting(first)
        await trio.sleep(1.5)
        await first.send([(0, b"so you are")])
        await trio.sleep(7)
        (line,) = lines(caplog)  # it is told again after something came
        assert "Meanwhile" not in line, "the datagram of the stranger was before that"


async def test_second_silence_within_a_minute_is_told_too(
    autojump_clock: MockClock, two: Any, port: int, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two
    stranger = somebody("127.0.0.4", port)
    for one in ("_log", "_peers_log"):
        setattr(first, one, BoundedLog("ringproto.transports", trio.current_time, getattr(first, one)._spacing_s))
    async with in_background(first):
        for _ in range(2):
            second.socket.sendto(datagram(2), ("127.0.0.1", port))
            await waiting(first)
            await trio.sleep(1.5)
            await first.send([(0, b"is anybody there?")])
            # A packet says who originated it, not who sends it.
            stranger.socket.sendto(datagram(2, 1), ("127.0.0.1", port))
            await waiting(first)
            await trio.sleep(7)
    told = [line for line in lines(caplog) if "nothing came" in line]
    assert len(told) == 2
    assert told[1].endswith(f"the last of them from 127.0.0.4:{port}")


async def test_program_that_stood_still_does_not_say_that_nothing_came(
    autojump_clock: MockClock, two: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = two
    async with in_background(first):
        await first.send([(0, b"is anybody there?")])
        await trio.sleep(2.5)
        autojump_clock.jump(60)  # nobody ran, nobody read
        await trio.sleep(1.5)
        assert lines(caplog) == []


async def test_wildcard_is_told_with_the_address_that_peers_see(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ringproto"):
        transport = await open_unicast_udp(1, {1: ("0.0.0.0", port), 2: ("127.0.0.2", port)})
    assert "the own entry of node 1 is a wildcard, and this host sends from 127.0.0.1 to node 2" in caplog.text
    await transport.aclose()


async def test_wildcard_is_told_without_the_address_while_there_are_no_more_files(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    real = socket.socket
    left = 1

    def sockets(*arguments: Any, **more: Any) -> socket.socket:
        nonlocal left
        if left == 0:
            raise OSError(errno.EMFILE, "Too many open files")
        left -= 1
        return real(*arguments, **more)

    monkeypatch.setattr(socket, "socket", sockets)
    transport = await open_unicast_udp(1, {1: ("0.0.0.0", port), 2: ("127.0.0.2", port)})
    async with in_background(transport):
        for _ in range(8):
            await transport.send([(0, b"is anybody there?")])
            await trio.sleep(1)
        assert "a wildcard; this host sends from an address that is not known" in caplog.text


async def test_transport_that_gets_no_more_files_says_so_and_leaves_nothing_open(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("ringproto.transports._sockets.Readable", fail)
    with pytest.raises(TransportError, match="the transport cannot be opened: Too many open files"):
        await open_unicast_udp(1, {1: ("127.0.0.1", port)})
    with pytest.raises(TransportError, match="the transport cannot be opened: Too many open files"):
        await open_multicast_udp(1, GROUP, port, interface="127.0.0.1")


async def test_memory_of_claims_is_bounded(two: Any, port: int) -> None:
    first, second = two
    for node in range(10, 10 + PEERS_MAX + 5):
        first._origins = set()
        second.socket.sendto(datagram(node), ("127.0.0.1", port))
        if node % 50 == 0:
            await waiting(first)
        else:
            first._read_counted()
    assert len(first._claims) == PEERS_MAX


# Multicast


def header(node: int) -> bytes:
    return b"RPM\x01" + node.to_bytes(4, "big")


@pytest.fixture
async def group() -> AsyncIterator[MulticastUDP]:
    """A transport of node 1 alone on its group."""
    transport = await open_multicast_udp(1, GROUP, free_ports(1)[0], interface="127.0.0.1", offload=False)
    yield transport
    await transport.aclose()


def place_of(transport: MulticastUDP) -> Address:
    return GROUP, transport._membership.port


def tokens(somebody: Any) -> list[bytes]:
    """What came to somebody, without what transports ask each other."""
    return [datagram for datagram in somebody.received() if datagram.endswith(b"token")]


async def seconds(transport: MulticastUDP, count: float) -> None:
    """Time passes, in which something is sent ten times a second, as on an idle ring."""
    for _ in range(round(10 * count)):
        await transport.send([(0, b"x")])
        await trio.sleep(0.1)


async def test_node_of_multicast_is_where_it_was_heard_last(group: MulticastUDP, somebody: Any) -> None:
    one, other = somebody(), somebody()
    assert isinstance(group, AddressedTransport)
    assert group.address_of(2) is group.claims_of(2) is None
    await hears(group, one, header(2) + b"x", place_of(group))
    assert (group.address_of(2), group.claims_of(2)) == (one.name, None)
    await hears(group, other, header(2) + b"y", place_of(group))
    assert (group.address_of(2), group.claims_of(2)) == (other.name, one.name)


async def test_own_id_on_multicast_is_told_once_with_both_addresses(
    group: MulticastUDP, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clone = somebody()
    for _ in range(3):
        assert await hears(group, clone, header(1) + b"x", place_of(group)) == [b"x"], "the ring decides who gives way"
        group._noted.clear()  # as after a look
    own = "{}:{}".format(*group._own.socket.getsockname())
    assert (group.address_of(1), group.claims_of(1)) == (own, clone.name)
    assert lines(caplog) == [
        f"datagrams from {clone.name} are of node 1, which is this processor at {own}: two processes have one id"
    ]
    assert group.statistics()["own_id_elsewhere"] == 3
    await group.send([(1, b"not to the other one")])
    assert clone.received() == [], "its address is not learned"


async def test_strangers_on_multicast_are_told_of_once(
    group: MulticastUDP, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = somebody()
    for _ in range(3):
        await hears(group, stranger, b"not of this transport", place_of(group))
        group._noted.clear()
    (line,) = lines(caplog)
    assert line.startswith(f"datagrams from {stranger.name} are dropped: they do not begin as those of this transport")


async def test_unicast_to_a_node_with_two_addresses_reaches_both(group: MulticastUDP, somebody: Any) -> None:
    """The token of one of two processes must not go to the other, whichever spoke last."""
    one, other = somebody(), somebody()
    await hears(group, one, header(2) + b"x", place_of(group))
    await group.send([(2, b"token")])
    assert one.received() == [header(1) + b"token"]
    await hears(group, other, header(2) + b"x", place_of(group))
    await group.send([(2, b"token")])
    assert one.received() == other.received() == [], "to the group, where both are"
    assert group.statistics()["unicasts_to_group"] == 1


async def test_node_that_moved_is_sent_to_again_when_it_alone_was_heard(
    autojump_clock: MockClock, group: MulticastUDP, somebody: Any
) -> None:
    former, latter = somebody(), somebody()
    await hears(group, former, header(2) + b"x", place_of(group))
    await seconds(group, 1.5)
    for _ in range(3 * round(DISPUTE_S)):
        assert await hears(group, latter, header(2) + b"x", place_of(group)) == [b"x"]
        await seconds(group, 1)
    await group.send([(2, b"token")])
    assert tokens(latter) == [header(1) + b"token"]
    assert tokens(former) == []
    assert group.statistics()["addresses_changed"] == 1


async def test_two_processes_with_one_id_are_both_heard_and_sent_to_as_long_as_both_speak(
    autojump_clock: MockClock, group: MulticastUDP, somebody: Any
) -> None:
    one, other = somebody(), somebody()
    for _ in range(30):
        for speaker in (one, other):
            assert await hears(group, speaker, header(2) + b"x", place_of(group)) == [b"x"]
        await group.send([(2, b"token")])
        await seconds(group, 1)
    assert tokens(one) == tokens(other) == []
    # The clone ends, and the processor that was there from the start is silent, as on an idle ring.
    for _ in range(30):
        await group.send([(2, b"token")])
        await seconds(group, 1)
    assert tokens(one) == tokens(other) == []
    for _ in range(12):
        await hears(group, one, header(2) + b"x", place_of(group))
        await seconds(group, 1)
    await group.send([(2, b"token")])
    assert tokens(one) == [header(1) + b"token"]


async def test_process_that_said_one_thing_only_does_not_get_the_token_of_another(
    autojump_clock: MockClock, group: MulticastUDP, somebody: Any
) -> None:
    """It may have ended since, and the one before it be silent, as most are on an idle ring."""
    former, latter = somebody(), somebody()
    await hears(group, former, header(2) + b"x", place_of(group))
    await seconds(group, DISPUTE_S - 1.5)
    await hears(group, latter, header(2) + b"x", place_of(group))
    await seconds(group, 6 * DISPUTE_S)
    await group.send([(2, b"token")])
    assert tokens(former) == tokens(latter) == []
    assert group.statistics()["unicasts_to_group"] == 1


async def test_quiet_process_keeps_its_tokens_beside_one_that_speaks_and_does_not_hear(
    autojump_clock: MockClock, group: MulticastUDP, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As on an idle ring, beside a clone behind a firewall; the quiet one only answers when its transport is asked."""
    quiet, deaf = somebody(), somebody()
    await hears(group, quiet, header(2) + b"x", place_of(group))
    asked = 0
    for _ in range(30):
        await hears(group, deaf, header(2) + b"x", place_of(group))
        await group.send([(2, b"token")])
        await seconds(group, 1)
        for datagram in quiet.received():
            assert datagram == header(1) + notice(NOTICE_ASK), "tokens go to the group"
            asked += 1
            await hears(group, quiet, header(2) + notice(NOTICE_ANSWER), place_of(group))
    assert 3 <= asked <= 30 / DISPUTE_S + 1
    assert tokens(deaf) == []
    (line,) = lines(caplog)
    assert line == f"node 2 is heard from {quiet.name} and from {deaf.name}: two processes have one id"


async def test_node_that_is_started_anew_again_and_again_is_not_two(
    group: MulticastUDP, somebody: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(6):
        await hears(group, somebody(), header(2) + b"x", place_of(group))
    assert lines(caplog) == []
    assert group.statistics()["addresses_changed"] == 5


async def test_addresses_of_one_node_are_bounded(group: MulticastUDP, somebody: Any) -> None:
    for _ in range(20):
        await hears(group, somebody(), header(2) + b"x", place_of(group))
    assert len(group._origins) == CLAIMS_MAX
    assert group.statistics()["peers_known"] == 1
    assert len(header(2)) == HEADER_SIZE
