"""Names of peers: they come later than others, and move, and everybody is looked up at the side."""

from __future__ import annotations

import errno
import logging
import math
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from transport_openers import free_ports, ipv6_reason
from transport_resolver import installed
from trio.testing import MockClock

from ringproto.log import BoundedLog
from ringproto.transports import (
    AddressInUseError,
    BackgroundTransport,
    TransportError,
    _binding,
    _own_address,
    open_unicast_udp,
)
from ringproto.transports._addresses import pack_address
from ringproto.transports._names import LOOKUP_S, LOOKUPS_AT_ONCE, OPENING_S, is_name, may_move
from ringproto.transports._peers import Peer, PeerTable
from ringproto.transports._sockets import SAID_EVERY_S
from ringproto.transports.unicast_udp import UnicastUDP


@pytest.fixture
def port() -> int:
    (port,) = free_ports(1, "0.0.0.0")
    return port


@asynccontextmanager
async def in_background(*transports: UnicastUDP) -> AsyncIterator[None]:
    """Their background work is done within the block; they are closed behind it."""
    async with trio.open_nursery() as nursery:
        for transport in transports:
            nursery.start_soon(transport.run_background)
        yield
        nursery.cancel_scope.cancel()
    for transport in transports:
        await transport.aclose()


async def waiting(transport: UnicastUDP) -> list[bytes]:
    """What waits in its socket."""
    got: list[bytes] = []
    with trio.move_on_after(0.001):
        while True:
            got += await transport.receive()
    return got


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("127.0.0.1", False),
        ("127.1", False),
        ("::1", False),
        ("fe80::1%lo", False),
        ("localhost", True),
        ("pod-3.ring", True),
        ("1.2.3.4.example", True),
        ("a" * 300, True),
    ],
)
def test_address_in_digits_is_no_name(host: str, named: bool) -> None:
    assert is_name(host) is named


@pytest.mark.parametrize(
    ("host", "moves"),
    [("127.0.0.1", False), ("fe80::1%2", False), ("fe80::1%eth0", True), ("alpha", True), ("::1", False)],
)
def test_what_may_lead_to_another_address_later(host: str, moves: bool) -> None:
    assert may_move(host) is moves


@pytest.mark.skipif(ipv6_reason() is not None, reason=str(ipv6_reason()))
async def test_scope_of_an_address_that_is_not_link_local_is_left_out(port: int) -> None:
    first, second = [await open_unicast_udp(node, {1: ("::1%1", port), 2: ("::1%1", port + 1)}) for node in (1, 2)]
    await first.send([(2, b"here I am")])
    assert await waiting(second) == [b"here I am"]
    for transport in (first, second):
        await transport.aclose()


async def test_family_of_a_peer_that_comes_later_with_the_other_one_is_said(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    both = ["127.0.0.1", "::1"]
    resolver = installed({"alpha": both, "beta": both})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port + 1), 3: ("gamma", port + 2)})
    resolver.table["gamma"] = ["::1"]
    async with in_background(transport):
        await trio.sleep(20)
    said = [record for record in caplog.records if vars(record)["ringproto_kind"] == "family"]
    (record,) = said
    assert "node 1 uses IPv4, and node 3 (gamma) has IPv6 addresses only" in record.getMessage()


async def test_family_of_a_peer_that_has_an_address_is_not_its_fault(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    resolver.table["beta"] = ["::1"]  # for a moment, as where one record comes before the other
    with caplog.at_level(logging.INFO, "ringproto"):
        async with in_background(transport):
            await trio.sleep(20)
    assert "cannot hear each other" not in caplog.text
    assert f"this processor uses IPv4 (family); 127.0.0.2:{port} is kept" in caplog.text


async def test_all_names_are_looked_up_side_by_side(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({f"host{node}": [f"127.0.0.{node}"] for node in range(1, 13)}, takes_s=2.0)
    began = trio.current_time()
    transport = await open_unicast_udp(1, {node: (f"host{node}", port) for node in range(1, 13)})
    assert trio.current_time() - began == pytest.approx(2.0)
    assert resolver.at_once_max == 12
    assert transport.statistics()["peers_known"] == 11
    await transport.aclose()


async def test_so_many_look_ups_are_under_way_at_a_time(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({f"host{node}": [f"127.0.0.{node}"] for node in range(1, 41)}, takes_s=1.0)
    transport = await open_unicast_udp(1, {node: (f"host{node}", port) for node in range(1, 41)})
    # The own one comes beside them.
    assert resolver.at_once_max == LOOKUPS_AT_ONCE + 1
    assert transport.statistics()["peers_known"] == 39
    resolver.table = {}
    resolver.at_once_max = 0
    async with in_background(transport):
        await trio.sleep(60)
    assert resolver.at_once_max == LOOKUPS_AT_ONCE


async def test_threads_of_look_ups_that_were_given_up_are_not_those_of_the_program(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    """The resolver of the system hangs for as long as the test."""
    goes_on = threading.Event()
    at_once = ended = 0
    lock = threading.Lock()
    real = socket.getaddrinfo

    def hang(host: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal at_once, ended
        if not str(host).startswith("peer") or more.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(host, *arguments, **more)
        with lock:
            at_once += 1
        goes_on.wait(60)
        with lock:
            ended += 1
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr("ringproto.transports._names.OPENING_S", 0.1)
    monkeypatch.setattr("ringproto.transports.unicast_udp.LOOKUP_S", 0.1)
    monkeypatch.setattr("ringproto.transports.unicast_udp.LOOK_EVERY_S", 0.05)
    peers = {1: ("127.0.0.1", port), **{node: (f"peer{node}", port) for node in range(2, 60)}}
    transport = await open_unicast_udp(1, peers)
    limiter = trio.to_thread.current_default_thread_limiter()
    try:
        async with in_background(transport):
            for _ in range(20):
                await trio.sleep(0.05)
                assert limiter.borrowed_tokens == 0
            assert at_once == LOOKUPS_AT_ONCE, "those that were given up count"
            assert await trio.to_thread.run_sync(lambda: 7) == 7
            goes_on.set()
            while ended < LOOKUPS_AT_ONCE + 1:
                await trio.sleep(0.01)  # others get their turn when the threads are back
    finally:
        goes_on.set()


async def test_transport_opens_with_those_who_are_there(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    peers = {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)}
    first, second = await open_unicast_udp(1, peers), await open_unicast_udp(2, peers)
    assert isinstance(first, BackgroundTransport)
    assert "host 'gamma' of node 3 has no address that can be used: Name or service not known" in caplog.text
    await first.send([(0, b"to who is there"), (3, b"to who is not")])
    assert await waiting(second) == [b"to who is there"]
    assert first.statistics()["peers_known"] == 1
    assert first.statistics()["drops_unknown_destination"] == 1
    assert (first.address_of(1), first.address_of(2), first.address_of(3)) == (
        f"127.0.0.1:{port}",
        f"127.0.0.2:{port}",
        None,
    )
    for transport in (first, second):
        await transport.aclose()


async def test_names_that_get_no_answer_do_not_hold_the_opening_up_for_long(
    autojump_clock: MockClock, port: int
) -> None:
    hanging = {node: (f"host{node}", port) for node in range(4, 4 + 3 * LOOKUPS_AT_ONCE)}
    installed({"alpha": ["127.0.0.1"], **{host: 3600.0 for host, _ in hanging.values()}})
    digits = {node: (f"127.0.0.{node}", port) for node in range(101, 121)}
    began = trio.current_time()
    transport = await open_unicast_udp(1, {**hanging, 1: ("alpha", port), **digits})
    assert trio.current_time() - began == pytest.approx(OPENING_S) == pytest.approx(5.0)
    assert transport.statistics()["peers_known"] == 20, "an address in digits does not wait behind names"
    await transport.aclose()


async def test_own_name_that_gets_no_answer_is_an_error_within_a_bound(autojump_clock: MockClock, port: int) -> None:
    installed({"alpha": 3600.0, "beta": ["127.0.0.2"]})
    began = trio.current_time()
    with pytest.raises(TransportError, match="host 'alpha' of node 1 cannot be resolved: no answer within 30 s"):
        await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    assert trio.current_time() - began == pytest.approx(LOOKUP_S)


async def test_name_that_is_not_there_is_looked_up_again_and_taken_when_it_is(
    autojump_clock: MockClock, port: int
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"]})
    first = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    second = await open_unicast_udp(2, {1: ("127.0.0.1", port), 2: ("127.0.0.2", port)})
    began = trio.current_time()
    async with in_background(first):
        await trio.sleep(18.5)
        assert resolver.times("beta", began) == [0, 1, 3, 7, 12, 17], "after 1 s, 2, 4, and then each 5 s"
        resolver.table["beta"] = ["127.0.0.2"]
        await trio.sleep(5)
        await first.send([(2, b"there you are")])
        assert await waiting(second) == [b"there you are"]
        await second.send([(1, b"here I am")])
        assert await waiting(first) == [b"here I am"]
    assert first.statistics()["lookups"] == 6
    assert first.statistics()["lookups_failed"] == 5
    assert first.statistics()["peers_known"] == 1
    assert "addresses_changed" not in first.statistics(), "it had none before"
    await second.aclose()


async def test_look_up_that_hangs_is_given_up_and_others_go_on_beside_it(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({"alpha": ["127.0.0.1"]})
    peers = {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)}
    transport = await open_unicast_udp(1, peers)
    resolver.table |= {"beta": 3600.0, "gamma": ["127.0.0.3"]}
    began = trio.current_time()
    async with in_background(transport):
        await trio.sleep(2)
        assert transport.address_of(3) == f"127.0.0.3:{port}"
        await trio.sleep(34)
    # From 1 to 31 s, and two looks later.
    assert resolver.times("beta", began) in ([0, 1, 32], [0, 1, 33])


async def test_name_of_a_silent_peer_is_looked_up_again_ever_more_seldom(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    began = trio.current_time()
    async with in_background(transport):
        await trio.sleep(96)
    assert resolver.times("beta", began) == [0, 5, 15, 35, 65, 95]
    assert resolver.times("alpha", began) == [0], "the own name is bound, and stays"


async def test_name_of_a_peer_that_speaks_is_not_looked_up(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    first, second = [await open_unicast_udp(node, {1: ("alpha", port), 2: ("beta", port)}) for node in (1, 2)]
    began = trio.current_time()
    before = len(resolver.asked)
    async with in_background(first):
        for _ in range(20):
            await second.send([(1, b"still here")])
            assert await waiting(first) == [b"still here"]
            await trio.sleep(3)
        assert len(resolver.asked) == before
        await trio.sleep(5)
        assert resolver.times("beta", began)[2:] == [pytest.approx(62, abs=1)], "five seconds after it spoke last"
        await trio.sleep(90)
        await second.send([(1, b"here again")])
        assert await waiting(first) == [b"here again"]
        asked = len(resolver.times("beta", began))
        await trio.sleep(6.5)
        assert len(resolver.times("beta", began)) == asked + 1, "and after so many again"
    await second.aclose()


async def test_address_in_digits_is_never_looked_up(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({})
    transport = await open_unicast_udp(1, {1: ("127.0.0.1", port), 2: ("127.0.0.2", port)})
    async with in_background(transport):
        await trio.sleep(100)
    assert resolver.asked == []
    assert "lookups" not in transport.statistics()


async def test_peer_that_moved_is_sent_to_and_heard_at_its_new_address(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    first = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    former = await open_unicast_udp(2, {1: ("alpha", port), 2: ("beta", port)})
    await former.send([(1, b"before")])
    assert await waiting(first) == [b"before"]
    resolver.table["beta"] = ["127.0.0.3"]
    latter = await open_unicast_udp(2, {1: ("alpha", port), 2: ("beta", port)})
    with caplog.at_level(logging.INFO, "ringproto"):
        async with in_background(first):
            await trio.sleep(8)
            await first.send([(0, b"welcome")])
            assert await waiting(latter) == [b"welcome"]
            assert await waiting(former) == []
            await latter.send([(1, b"after")])
            await former.send([(1, b"too late")])
            assert await waiting(first) == [b"after"]
    assert first.statistics()["addresses_changed"] == 1
    assert first.statistics()["drops_unknown_source"] == 1
    assert f"node 2 (beta) is at 127.0.0.3:{port} now, and was at 127.0.0.2:{port}" in caplog.text
    for transport in (former, latter):
        await transport.aclose()


async def test_claim_from_elsewhere_brings_the_look_up_forward(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    first = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    began = trio.current_time()
    async with in_background(first):
        await trio.sleep(36)
        assert resolver.times("beta", began) == [0, 5, 15, 35], "the next one would be after 65 s"
        resolver.table["beta"] = ["127.0.0.9", "127.0.0.2", "127.0.0.3"]
        latter = await open_unicast_udp(2, {1: ("127.0.0.1", port), 2: ("127.0.0.3", port)})
        await latter.send([(1, JOIN_OF_2)])
        assert await waiting(first) == []
        await trio.sleep(5)
        assert first.address_of(2) == f"127.0.0.3:{port}", "where it was heard, of all addresses that it has"
        assert first.claims_of(2) is None, "it is nowhere else"
        await latter.send([(1, JOIN_OF_2)])
        assert await waiting(first) == [JOIN_OF_2]
        await latter.aclose()
    assert lines(caplog) == [], "somebody who moves is no fault"


async def test_claim_that_the_name_does_not_confirm_is_told(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    first = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    clone = await open_unicast_udp(2, {1: ("127.0.0.1", port), 2: ("127.0.0.3", port)})
    async with in_background(first):
        for _ in range(12):
            await clone.send([(1, JOIN_OF_2)])
            assert await waiting(first) == []
            await trio.sleep(1)
    assert lines(caplog)[0].startswith(
        f"datagrams from 127.0.0.3:{port} are dropped: they are of node 2, which the table of peers has at "
        f"127.0.0.2:{port}; two processes have that id"
    )
    assert first.claims_of(2) == f"127.0.0.3:{port}"
    assert first.statistics()["claims_from_elsewhere"] == 12
    await clone.aclose()


async def test_name_that_has_several_addresses_keeps_the_one_that_was_taken(
    autojump_clock: MockClock, port: int
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2", "127.0.0.3"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    resolver.table["beta"] = ["127.0.0.3", "127.0.0.2"]
    async with in_background(transport):
        await trio.sleep(40)
    assert transport.address_of(2) == f"127.0.0.2:{port}"
    assert transport.statistics()["lookups"] == 3


@pytest.mark.skipif(ipv6_reason() is not None, reason=str(ipv6_reason()))
async def test_peer_with_a_link_local_address_takes_the_wider_one_to_which_its_name_leads_too(
    autojump_clock: MockClock, port: int
) -> None:
    near, far, other = (
        answer_of((host, port, 0, scope), socket.AF_INET6)
        for host, scope in (("fe80::2", 1), ("fd77::2", 0), ("fe80::3", 1))
    )
    resolver = installed({"alpha": ["::1"], "beta": lambda: [near], "gamma": lambda: [other]})
    peers = {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)}
    transport = await open_unicast_udp(1, peers, family=socket.AF_INET6)
    assert transport.address_of(2) == f"[fe80::2%1]:{port}", "better than none"
    resolver.table["beta"] = lambda: [near, far]
    async with in_background(transport):
        await trio.sleep(12)
    assert transport.address_of(2) == f"[fd77::2]:{port}"
    assert transport.address_of(3) == f"[fe80::3%1]:{port}"


async def test_address_is_kept_when_its_name_is_gone(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    del resolver.table["beta"]
    with caplog.at_level(logging.INFO, "ringproto"):
        async with in_background(transport):
            await trio.sleep(40)
    assert transport.address_of(2) == f"127.0.0.2:{port}"
    assert f"127.0.0.2:{port} is kept" in caplog.text


async def test_two_names_that_exchange_their_addresses_both_move(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"], "gamma": ["127.0.0.3"]})
    peers = {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)}
    transport = await open_unicast_udp(1, peers)
    resolver.table |= {"beta": ["127.0.0.3"], "gamma": ["127.0.0.2"]}
    async with in_background(transport):
        await trio.sleep(12)
    assert transport.address_of(2) == f"127.0.0.3:{port}"
    assert transport.address_of(3) == f"127.0.0.2:{port}"


@pytest.mark.parametrize("busy", [False, True], ids=["joins", "packets too"])
async def test_peers_that_speak_from_each_other_s_former_address_both_move(
    autojump_clock: MockClock, port: int, busy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"], "gamma": ["127.0.0.3"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)})
    async with in_background(transport):
        for before in (True, False):
            where = {2: ("127.0.0.2", port), 3: ("127.0.0.3", port)}
            if not before:
                where = {2: where[3], 3: where[2]}
                resolver.table |= {"beta": ["127.0.0.3"], "gamma": ["127.0.0.2"]}
            others = [await open_unicast_udp(node, {1: ("127.0.0.1", port), **where}) for node in (2, 3)]
            for number in range(20):
                for other in others:
                    # A packet says nothing of who sent it.
                    await other.send([(1, packet_of(1) if busy and number % 3 else join_of(other.node))])
                assert len(await waiting(transport)) == 2
                await trio.sleep(0.5)
            for other in others:
                await other.aclose()
    assert (transport.address_of(2), transport.address_of(3)) == (f"127.0.0.3:{port}", f"127.0.0.2:{port}")
    assert lines(caplog) == [], "those who move are no fault"


async def test_peer_takes_the_address_of_one_that_is_gone_with_its_name(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"], "gamma": ["127.0.0.3"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)})
    second = await open_unicast_udp(2, {1: ("127.0.0.1", port), 2: ("127.0.0.3", port)})
    del resolver.table["gamma"]
    resolver.table["beta"] = ["127.0.0.3"]
    async with in_background(transport):
        for _ in range(8):
            await second.send([(1, JOIN_OF_2)])
            await waiting(transport)
            await trio.sleep(1)
    assert (transport.address_of(2), transport.address_of(3)) == (f"127.0.0.3:{port}", None)
    await second.aclose()


async def test_id_at_the_address_of_another_that_its_name_does_not_confirm_is_told(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"], "gamma": ["127.0.0.3"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)})
    clone = await open_unicast_udp(2, {1: ("127.0.0.1", port), 2: ("127.0.0.3", port)})
    async with in_background(transport):
        for _ in range(12):
            await clone.send([(1, JOIN_OF_2)])
            assert await waiting(transport) == [JOIN_OF_2]
            await trio.sleep(1)
    assert lines(caplog) == [
        f"datagrams from 127.0.0.3:{port}, where the table of peers has node 3, are of node 2: give all processors one "
        "table, in which each node has its own address"
    ]
    assert (transport.address_of(2), transport.address_of(3)) == (f"127.0.0.2:{port}", f"127.0.0.3:{port}")
    await clone.aclose()


async def test_address_in_digits_belongs_to_whom_the_table_gives_it(autojump_clock: MockClock, port: int) -> None:
    installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.3"]})
    peers = {1: ("alpha", port), 2: ("beta", port), 3: ("127.0.0.3", port)}
    transport = await open_unicast_udp(1, peers)
    async with in_background(transport):
        await trio.sleep(60)
    assert (transport.address_of(2), transport.address_of(3)) == (None, f"127.0.0.3:{port}")


async def test_address_that_another_peer_took_is_nobody_else_s(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"], "gamma": ["127.0.0.3"]})
    peers = {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)}
    transport = await open_unicast_udp(1, peers)
    del resolver.table["gamma"]
    resolver.table["beta"] = ["127.0.0.3"]
    async with in_background(transport):
        await trio.sleep(12)
    assert (transport.address_of(2), transport.address_of(3)) == (f"127.0.0.3:{port}", None)
    assert transport.statistics()["peers_known"] == 1


async def test_address_of_a_peer_that_speaks_is_not_taken_from_it(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"], "gamma": ["127.0.0.2"]})
    peers = {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)}
    first = await open_unicast_udp(1, peers)
    second = await open_unicast_udp(2, {1: ("127.0.0.1", port), 2: ("127.0.0.2", port)})
    assert f"of node 3 has no address that can be used: 127.0.0.2:{port} is that of node 2 too" in caplog.text
    async with in_background(first):
        for _ in range(10):
            await second.send([(1, b"this is mine")])
            assert await waiting(first) == [b"this is mine"]
            await trio.sleep(1)
    assert (first.address_of(2), first.address_of(3)) == (f"127.0.0.2:{port}", None)
    await second.aclose()


def answer_of(address: Any, family: int = socket.AF_INET) -> tuple[Any, ...]:
    """One of the tuples in what ``socket.getaddrinfo`` gives."""
    return family, socket.SOCK_DGRAM, 17, "", address


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (["127.0.0.1"], "127.0.0.1:{port} is the own address"),
        (["0.0.0.0"], "0.0.0.0:{port} stands for every address"),
        (["239.192.7.1"], "239.192.7.1:{port} is a multicast group"),
        ([], "it has neither an IPv4 nor an IPv6 address"),
        (["::5"], "it has IPv6 addresses only, and this processor uses IPv4"),
        (ValueError("the table of hosts is half written"), "the table of hosts is half written"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "Temporary failure in name"),
        (KeyError(), "KeyError"),
        (lambda: None, "what the resolver says cannot be read: "),
        (lambda: [()], "what the resolver says cannot be read: "),
        (lambda: [answer_of(("b.internal", 5001))], "what the resolver says cannot be read: "),
        (lambda: [answer_of(("127.0.0.2", None))], "what the resolver says cannot be read: "),
        (lambda: [answer_of(("127.0.0.2", 70_000))], "what the resolver says cannot be read: "),
        (lambda: [answer_of(["127.0.0.2", 5001])], "what the resolver says cannot be read: "),
        (lambda: [answer_of(("::1", 5001))], "what the resolver says cannot be read: "),
        (lambda: [answer_of(("::1", 5001), socket.AF_INET6)], "what the resolver says cannot be read: "),
        (lambda: [answer_of(("127.0.0.2", 5001), socket.AF_INET6)], "('127.0.0.2', 5001) is no IPv6 address"),
        (lambda: [answer_of(("::1", 5001, 0, 0))], "('::1', 5001, 0, 0) is no IPv4 address"),
    ],
)
async def test_answer_that_is_of_no_use_is_told_and_does_no_harm(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture, answer: Any, reason: str
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    resolver.table["beta"] = answer
    transport._peers_log = BoundedLog("ringproto.transports")
    async with in_background(transport):
        await trio.sleep(2)
        assert reason.format(port=port) in lines(caplog)[-1]
        assert transport.statistics()["lookups_failed"] == 1
        resolver.table["beta"] = ["127.0.0.2"]
        await trio.sleep(2)
    assert transport.address_of(2) == f"127.0.0.2:{port}"


async def test_names_are_told_of_once_a_minute_and_peer(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    installed({"alpha": ["127.0.0.1"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port), 3: ("gamma", port)})
    caplog.clear()
    transport._peers_log = BoundedLog("ringproto.transports", trio.current_time, SAID_EVERY_S)
    async with in_background(transport):
        await trio.sleep(55)
        assert sorted(line.split()[1] for line in lines(caplog)) == ["'beta'", "'gamma'"]
        await trio.sleep(60)
    assert len(lines(caplog)) == 4
    assert "(12 more lines like this one were left out)" in lines(caplog)[-1]
    assert transport.statistics()["lookups_failed"] > 40


@pytest.mark.parametrize("closes", [False, True], ids=["in its time", "when it is closed"])
async def test_last_of_several_moves_is_told(
    autojump_clock: MockClock, port: int, caplog: pytest.LogCaptureFixture, closes: bool
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    transport._peers_log = BoundedLog("ringproto.transports", trio.current_time, SAID_EVERY_S)
    with caplog.at_level(logging.INFO, "ringproto"):
        async with in_background(transport):
            for last in (3, 4, 5):
                resolver.table["beta"] = [f"127.0.0.{last}"]
                await trio.sleep(7)
            assert transport.address_of(2) == f"127.0.0.5:{port}"
            await trio.sleep(20)
            await transport.send([(2, b"too early")])
            assert "127.0.0.5" not in caplog.text
            if not closes:
                await trio.sleep(30)
                await transport.send([(2, b"a minute later")])
                assert f"is at 127.0.0.5:{port} now" in caplog.messages[-1]
    assert [message for message in caplog.messages if "is at" in message] == [
        f"node 2 (beta) is at 127.0.0.3:{port} now, and was at 127.0.0.2:{port}",
        f"node 2 (beta) is at 127.0.0.5:{port} now, and was at 127.0.0.4:{port} (1 more lines like this one were left "
        "out)",
    ]


async def test_background_work_is_done_by_one_task_and_ends_with_the_transport(
    autojump_clock: MockClock, port: int
) -> None:
    installed({"alpha": ["127.0.0.1"], "beta": 3600.0})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.run_background)
        await trio.sleep(4)
        with pytest.raises(trio.BusyResourceError):
            await transport.run_background()
        await transport.aclose()
        with trio.fail_after(1.5):
            while nursery.child_tasks:
                await trio.sleep(0.1)


async def test_background_work_may_be_cancelled_and_begun_again(autojump_clock: MockClock, port: int) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": 3600.0})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    with trio.move_on_after(4):
        await transport.run_background()
    resolver.table["beta"] = ["127.0.0.2"]
    async with in_background(transport):
        await trio.sleep(6)
    assert transport.address_of(2) == f"127.0.0.2:{port}"


# The own address


def lose(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """This is no address of the host any more, as far as a transport sees that is bound to it."""
    bind = _binding.bound_socket

    def bound_socket(family: int, address: tuple[Any, ...], *more: Any, **options: Any) -> socket.socket:
        if address[0] == host:
            raise TransportError(errno.EADDRNOTAVAIL, f"{host} is not an address of this host")
        return bind(family, address, *more, **options)

    for module in ("unicast_udp", "_own_address"):
        monkeypatch.setattr(f"ringproto.transports.{module}.bound_socket", bound_socket)


async def sends_for(transport: UnicastUDP, seconds: int) -> None:
    """It sends something each second, as a ring does, and looks at its address."""
    for _ in range(seconds):
        transport._look_at_paths_at = -math.inf
        await transport.send([(0, b"anybody?")])
        await trio.sleep(1)


async def test_all_addresses_of_the_own_name_are_tried_at_the_opening(autojump_clock: MockClock, port: int) -> None:
    installed({"alpha": ["203.0.113.7", "239.192.7.1", "127.0.0.1"], "beta": ["203.0.113.7", "203.0.113.8"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port)})
    assert transport.address_of(1) == f"127.0.0.1:{port}"
    await transport.aclose()
    with pytest.raises(TransportError, match=r"203.0.113.7:\d+, the own entry of node 1, is not an address of this"):
        await open_unicast_udp(1, {1: ("beta", port)})


def packed_ipv6(host: str, scope: int = 0) -> bytes:
    return pack_address((host, 5001, 0, scope))


def bind_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address is one of this host."""
    monkeypatch.setattr(_own_address, "bound_socket", lambda *_: None)


async def test_own_name_with_a_link_local_address_leads_to_the_wider_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # The system's resolver gives that of the smaller scope first (RFC 6724, rule 8); the peers do not know it perhaps.
    bind_anything(monkeypatch)
    near, far = packed_ipv6("fe80::1", 2), packed_ipv6("fd77::1")
    for addresses in ([near, far], [far, near]):
        assert _own_address.bind_own(1, socket.AF_INET6, addresses)[0] == far
    assert _own_address.bind_own(1, socket.AF_INET6, [near])[0] == near


@pytest.mark.parametrize("gone", [False, True])
async def test_link_local_own_address_is_left_for_a_wider_one_and_for_its_own_interface_alone(
    monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    bind_anything(monkeypatch)
    table = PeerTable(1, packed_ipv6("fe80::1", 2))
    table.add(Peer(2, "fd77::2", 5001, named=False))
    table.answered(table.peers[2], [packed_ipv6("fd77::2")], "")
    own = _own_address.OwnAddress(table, socket.AF_INET6, "alpha", 5001, trio.CapacityLimiter(1))
    own.gone = gone
    resolver = installed({})

    async def leads_to(*addresses: tuple[Any, ...]) -> bytes | None:
        resolver.table["alpha"] = lambda: [answer_of(one, socket.AF_INET6) for one in addresses]
        assert own.due
        await own.look_up()
        place = own.bind_elsewhere()
        return None if place is None else place[0]

    before = ("fe80::1", 5001, 0, 2)
    assert await leads_to(before) is None
    assert await leads_to(before, ("fd77::1", 5001, 0, 0)) == packed_ipv6("fd77::1")
    with pytest.raises(ValueError, match=r"fe80::9%2\]:5001 does not reach node 2 at \[fd77::2\]:5001"):
        await leads_to(("fe80::9", 5001, 0, 2))
    if gone:
        assert await leads_to(("fe80::1", 5001, 0, 7)) == packed_ipv6("fe80::1", 7), "taken out and put in again"
    else:
        with pytest.raises(ValueError, match=r"fe80::1%7\]:5001 does not reach"):
            await leads_to(("fe80::1", 5001, 0, 7))


async def test_processor_that_is_started_twice_does_not_take_the_next_address_of_its_name(
    autojump_clock: MockClock, port: int
) -> None:
    installed({"alpha": ["127.0.0.1", "127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port)})
    with pytest.raises(AddressInUseError):
        await open_unicast_udp(1, {1: ("alpha", port)})
    await transport.aclose()


async def test_all_addresses_of_the_own_name_are_tried_when_the_one_that_is_bound_is_gone(
    autojump_clock: MockClock, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed({"alpha": ["127.0.0.1", "203.0.113.7", "127.0.0.9"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    async with in_background(transport):
        lose(monkeypatch, "127.0.0.1")
        await sends_for(transport, 4)
        assert transport.address_of(1) == f"127.0.0.9:{port}"


async def test_log_ends_with_whether_the_own_address_is_there(
    autojump_clock: MockClock, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    transport._log = BoundedLog("ringproto.transports", trio.current_time, waiting=transport._unsaid)

    async def last_line() -> str:
        transport._look_at_paths_at = -math.inf
        for _ in range(2):
            await transport.send([(0, b"anybody?")])
            await trio.sleep(2)
        return [record.getMessage() for record in caplog.records if vars(record)["ringproto_kind"] == "own address"][-1]

    del resolver.table["alpha"]
    resolver.table["beta"] = ["203.0.113.2"]
    async with in_background(transport):
        # The network changes: the peer is outside of this host now, and the own address is gone at the same time.
        while transport.address_of(2) != f"203.0.113.2:{port}":
            await trio.sleep(0.1)
        with monkeypatch.context() as gone:
            lose(gone, "127.0.0.1")
            assert "reaches nobody until that address is back" in await last_line()
            transport._apply()
            assert "reaches nobody until that address is back" in await last_line()
        assert "is of this host again" in await last_line()


async def test_new_own_address_whose_port_is_taken_is_said_ever_more_seldom(
    autojump_clock: MockClock, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    transport._log = BoundedLog("ringproto.transports", trio.current_time, waiting=transport._unsaid)
    other = await open_unicast_udp(3, {3: ("127.0.0.9", port)})
    async with in_background(transport):
        lose(monkeypatch, "127.0.0.1")
        resolver.table["alpha"] = ["127.0.0.9"]
        await sends_for(transport, 60)
        assert len([line for line in lines(caplog) if "cannot go on at its new address" in line]) == 5
        await other.aclose()
        await sends_for(transport, 3)
        assert transport.address_of(1) == f"127.0.0.9:{port}"


async def test_address_to_which_this_processor_moves_is_not_that_of_a_peer_any_more(
    autojump_clock: MockClock, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = installed({"alpha": ["127.0.0.1"], "beta": ["127.0.0.2"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    async with in_background(transport):
        lose(monkeypatch, "127.0.0.1")
        resolver.table |= {"alpha": ["127.0.0.2"], "beta": []}
        await sends_for(transport, 6)
        assert (transport.address_of(1), transport.address_of(2)) == (f"127.0.0.2:{port}", None)
        assert await waiting(transport) == [], "nobody hears what he sent himself"
        assert not any("misplaced" in vars(record)["ringproto_kind"] for record in caplog.records)
        resolver.table["beta"] = ["127.0.0.3"]
        await trio.sleep(6)
        assert transport.address_of(2) == f"127.0.0.3:{port}", "without a word of that peer"


async def test_family_is_chosen_by_the_names_that_are_there(autojump_clock: MockClock, port: int) -> None:
    installed({"alpha": ["127.0.0.1"]})
    transport = await open_unicast_udp(1, {1: ("alpha", port), 2: ("beta", port)})
    assert transport.datagram_size_max == 8 * 1344, "a name that is not there may be another host's"
    await transport.aclose()


def join_of(node: int) -> bytes:
    """How a datagram of membership of a node begins (docs/wire.md, the envelope)."""
    return bytes([1, 3, 0, 0]) + bytes(8) + node.to_bytes(4, "big") + b"and the rest"


def packet_of(node: int) -> bytes:
    """The same of a packet."""
    return bytes([1, 1]) + join_of(node)[2:]


JOIN_OF_2 = join_of(2)
