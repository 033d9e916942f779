"""Unicast UDP: the table, the names in it, and who is let in."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from typing import Any

import pytest
import trio
from transport_openers import free_ports, ipv6_reason
from transport_resolver import Resolver

from ringproto.transports import AddressInUseError, TransportError, open_unicast_udp
from ringproto.transports._sockets import DatagramSocket

needs_ipv6 = pytest.mark.skipif(ipv6_reason() is not None, reason=str(ipv6_reason()))


@pytest.fixture
def names() -> Any:
    """Installs a table of host names."""

    def install(**table: list[str]) -> None:
        trio.socket.set_custom_hostname_resolver(Resolver(table))

    return install


async def exchange(*transports: Any) -> None:
    """Everybody hears everybody."""
    for sender in transports:
        await sender.send([(0, b"%d" % sender.node)])
    with trio.fail_after(10):
        for receiver in transports:
            due = sorted(b"%d" % other.node for other in transports if other is not receiver)
            got: list[bytes] = []
            while len(got) < len(due):
                got += await receiver.receive()
            assert sorted(got) == due


async def close(*transports: Any) -> None:
    for transport in transports:
        await transport.aclose()


async def test_example_of_the_documentation_works() -> None:
    one, two = free_ports(2)
    peers = {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)}
    first, second = await open_unicast_udp(1, peers), await open_unicast_udp(2, peers)
    assert repr(first) == f"<UnicastUDP node 1 at 127.0.0.1:{one}, 1 peers>"
    assert first.datagram_size_max == (32_000 if sys.platform == "linux" else 8_952)
    await exchange(first, second)
    await close(first, second)


@pytest.mark.parametrize(
    ("peers", "local"),
    [
        ({1: "127.0.0.1", 2: "127.0.0.2"}, True),
        ({1: "0.0.0.0", 2: "127.0.0.2", 3: "127.1.2.3"}, True),
        ({1: "127.0.0.1", 2: "127.0.0.2", 3: "192.0.2.7"}, False),
        ({1: "127.0.0.1"}, False),
        ({1: "localhost", 2: "127.0.0.2", 3: "LOCALHOST"}, True),
        ({1: "127.0.0.1", 2: "127.0.0.2", 3: "a-name-that-leads-to-loopback"}, False),
        ({1: "a-name-that-leads-to-loopback", 2: "127.0.0.2"}, False),
    ],
)
async def test_datagrams_are_large_only_where_all_others_are_on_this_host(
    names: Any, peers: dict[int, str], local: bool
) -> None:
    """Which all processors with one table must find alike: a name that may lead elsewhere at another does not count."""
    names(**{"localhost": ["127.0.0.1"], "LOCALHOST": ["127.0.0.1"], "a-name-that-leads-to-loopback": ["127.0.0.1"]})
    ports = free_ports(len(peers))
    table = {node: (host, port) for (node, host), port in zip(peers.items(), ports, strict=True)}
    transport = await open_unicast_udp(1, table)
    assert transport.datagram_size_max == ((32_000 if sys.platform == "linux" else 8_952) if local else 8 * 1344)
    await transport.aclose()
    transport = await open_unicast_udp(1, table, datagram_size=700)
    assert transport.datagram_size_max == 700
    await transport.aclose()


async def test_host_names_are_resolved(names: Any) -> None:
    names(alpha=["127.0.0.2"], beta=["127.0.0.3"])
    (port,) = free_ports(1, "0.0.0.0")
    peers = {1: ("alpha", port), 2: ("beta", port)}
    first, second = await open_unicast_udp(1, peers), await open_unicast_udp(2, peers)
    assert "127.0.0.2" in repr(first)
    await exchange(first, second)
    await close(first, second)


async def test_localhost_is_one_family_for_everybody() -> None:
    one, two = free_ports(2)
    peers = {1: ("localhost", one), 2: ("127.0.0.1", two)}
    first, second = await open_unicast_udp(1, peers), await open_unicast_udp(2, peers)
    await exchange(first, second)
    await close(first, second)


@needs_ipv6
async def test_ipv4_is_chosen_where_all_have_it_and_ipv6_otherwise(names: Any) -> None:
    names(both=["::1", "127.0.0.1"], also=["::1", "127.0.0.1"], six=["::1"])
    one, two = free_ports(2, "::1")
    for other, host in (("also", "127.0.0.1"), ("six", "[::1]")):
        peers = {1: ("both", one), 2: (other, two)}
        first, second = await open_unicast_udp(1, peers), await open_unicast_udp(2, peers)
        assert f"at {host}:{one}" in repr(first)
        await exchange(first, second)
        await close(first, second)
    first = await open_unicast_udp(1, {1: ("both", one), 2: ("also", two)}, family=socket.AF_INET6)
    assert f"[::1]:{one}" in repr(first)
    await first.aclose()


async def test_hosts_without_a_family_in_common_are_named(names: Any) -> None:
    names(four=["127.0.0.1"], six=["::1"])
    with pytest.raises(TransportError, match=r"one family: node 1 \(four\) has IPv4, node 2 \(six\) has IPv6"):
        await open_unicast_udp(1, {1: ("four", 5001), 2: ("six", 5002)})
    with pytest.raises(TransportError, match=r"all processors must have IPv6 addresses: node 1 \(four\) has IPv4"):
        await open_unicast_udp(1, {1: ("four", 5001)}, family=socket.AF_INET6)


async def test_own_name_that_nobody_knows_is_named(names: Any) -> None:
    names(alpha=["127.0.0.1"])
    with pytest.raises(TransportError, match=r"host 'omega' of node 2 cannot be resolved: .*not known"):
        await open_unicast_udp(2, {1: ("alpha", 5001), 2: ("omega", 5002)})


@pytest.mark.parametrize("wrong", [1, 2])
async def test_name_that_cannot_be_one_is_named(wrong: int) -> None:
    peers = {1: ("127.0.0.1", 5001), 2: ("127.0.0.1", 5002), wrong: ("a" * 300 + ".example", 5003)}
    with pytest.raises(TransportError, match=f"of node {wrong} cannot be resolved"):
        await open_unicast_udp(1, peers)


async def test_datagrams_of_strangers_are_counted_and_dropped() -> None:
    one, two = free_ports(2)
    peers = {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)}
    first, second = await open_unicast_udp(1, peers), await open_unicast_udp(2, peers)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"let me in", ("127.0.0.1", one))
        await exchange(first, second)
        stranger.sendto(b"let me in", ("127.0.0.1", one))
        await exchange(first, second)
    assert first.statistics()["drops_unknown_source"] == 2
    assert first.statistics()["datagrams_received"] == 2
    await close(first, second)


async def test_oversized_and_empty_datagrams_of_a_peer_are_counted_and_dropped() -> None:
    one, two = free_ports(2)
    peers = {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.bind(("127.0.0.1", two))
        first = await open_unicast_udp(1, peers, datagram_size=100)
        for size in (0, 101, 100, 5000):
            second.sendto(b"o" * size, ("127.0.0.1", one))
        second.sendto(b"x", ("127.0.0.1", one))
        with trio.fail_after(10):
            assert await first.receive() == [b"o" * 100, b"x"]
    assert first.statistics()["drops_oversized"] == 2
    assert first.statistics()["drops_undersized"] == 1
    await first.aclose()


async def test_destination_that_is_not_in_the_table_is_counted_and_dropped() -> None:
    (port,) = free_ports(1)
    transport = await open_unicast_udp(1, {1: ("127.0.0.1", port)})
    await transport.send([(2, b"x"), (0, b"to nobody at all"), (1, b"to oneself")])
    statistics = transport.statistics()
    assert statistics["drops_unknown_destination"] == 1
    assert statistics["drops_to_self"] == 1
    assert statistics["datagrams_sent"] == 0
    await transport.aclose()


async def test_batch_with_a_bad_datagram_counts_nothing() -> None:
    (port,) = free_ports(1)
    transport = await open_unicast_udp(1, {1: ("127.0.0.1", port)})
    before = transport.statistics()
    with pytest.raises(ValueError, match="a datagram must have 1 to 10752 bytes"):
        await transport.send([(2, b"x"), (2, b"")])
    assert transport.statistics() == before
    await transport.aclose()


async def test_broadcast_counts_a_datagram_for_each_peer() -> None:
    ports = free_ports(4)
    peers = {node: ("127.0.0.1", port) for node, port in enumerate(ports, 1)}
    transport = await open_unicast_udp(1, peers)
    await transport.send([(0, b"12345")])
    assert transport.statistics()["datagrams_sent"] == 3
    assert transport.statistics()["bytes_sent"] == 15
    await transport.aclose()


async def test_peer_that_is_not_there_is_no_trouble() -> None:
    one, two = free_ports(2)
    first = await open_unicast_udp(1, {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)})
    for _ in range(3):
        await first.send([(2, b"anybody there?")])
        with trio.move_on_after(0.01):
            await first.receive()
    second = await open_unicast_udp(2, {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)})
    await exchange(first, second)
    await close(first, second)


async def test_port_that_is_taken_is_named() -> None:
    (port,) = free_ports(1)
    first = await open_unicast_udp(1, {1: ("127.0.0.1", port)})
    with pytest.raises(AddressInUseError, match=f"127.0.0.1:{port}, the own entry of node 2, is taken") as caught:
        await open_unicast_udp(2, {2: ("127.0.0.1", port)})
    assert caught.value.errno == errno.EADDRINUSE
    await first.aclose()
    second = await open_unicast_udp(2, {2: ("127.0.0.1", port)})
    await second.aclose()


async def test_address_of_another_host_cannot_be_the_own() -> None:
    # An address of TEST-NET-3, which no host has.
    with pytest.raises(TransportError, match=r"203.0.113.7:5001, the own entry of node 1, is not an address of this"):
        await open_unicast_udp(1, {1: ("203.0.113.7", 5001)})


async def test_own_entry_may_be_a_wildcard() -> None:
    one, two = free_ports(2)
    first = await open_unicast_udp(1, {1: ("0.0.0.0", one), 2: ("127.0.0.1", two)})
    second = await open_unicast_udp(2, {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)})
    await exchange(first, second)
    await close(first, second)


async def test_own_loopback_address_among_others_is_hinted_at(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    with caplog.at_level(logging.WARNING, "ringproto.transports"):
        transport = await open_unicast_udp(1, {1: ("127.0.0.1", port), 2: ("203.0.113.7", 5002)})
    assert "reaches this host alone, and node 2 is at 203.0.113.7:5002" in caplog.text
    # Nothing can be sent there from a loopback address: that is counted, and not raised.
    await transport.send([(2, b"x")])
    statistics = transport.statistics()
    assert sum(count for name, count in statistics.items() if name.startswith("send_errors_")) == 1
    await transport.aclose()


GOOD = {1: ("127.0.0.1", 5001), 2: ("127.0.0.1", 5002)}


@pytest.mark.parametrize(
    ("node", "peers", "options", "message"),
    [
        (0, GOOD, {}, "node must be a node id, a whole number from 1 to 4294967295, not 0"),
        (2**32, GOOD, {}, "node must be a node id"),
        ("1", GOOD, {}, "node must be a node id"),
        (3, GOOD, {}, r"an entry for the own node 3, the address to bind; it has \[1, 2\]"),
        (1, {**GOOD, 0: ("127.0.0.1", 5003)}, {}, "a key of peers must be a node id"),
        (1, [("127.0.0.1", 5001)], {}, r"peers must map node ids to \(host, port\), and is of type list"),
        (1, {1: "127.0.0.1:5001"}, {}, r"peers\[1\] must be \(host, port\)"),
        (1, {1: ("127.0.0.1",)}, {}, r"peers\[1\] must be \(host, port\)"),
        (1, {1: ("", 5001)}, {}, r"peers\[1\] must be \(host, port\)"),
        (1, {1: ("127.0.0.1", 0)}, {}, r"the port in peers\[1\] must be a whole number from 1 to 65535, not 0"),
        (1, {1: ("127.0.0.1", 65_536)}, {}, r"the port in peers\[1\]"),
        (1, {1: ("127.0.0.1", "5001")}, {}, r"the port in peers\[1\]"),
        (1, {1: ("127.0.0.1", 5001), 2: ("127.0.0.1", 5001)}, {}, "nodes 1 and 2 have one address, 127.0.0.1:5001"),
        (1, {**GOOD, 3: ("a.example", 5), 4: ("A.example", 5)}, {}, "nodes 3 and 4 have one address, a.example:5"),
        (
            1,
            {**GOOD, 3: ("127.2", 5001), 4: ("127.0.0.2", 5001)},
            {},
            "127.0.0.2:5001 is that of node 3 too",
        ),
        (1, {**GOOD, 3: ("127.1", 5001)}, {}, "node 3 cannot have this address: 127.0.0.1:5001 is the own address"),
        (1, {1: ("239.192.7.1", 5001)}, {}, "the own address of node 1, 239.192.7.1:5001, is a multicast group"),
        (1, {1: ("127.0.0.1", 5001), 2: ("0.0.0.0", 5001)}, {}, "cannot be sent to"),
        (1, {1: ("127.0.0.1", 5001), 2: ("239.192.7.1", 5001)}, {}, "multicast group: .* use open_multicast_udp"),
        (1, GOOD, {"datagram_size": 63}, "datagram_size must be a whole number from 64 to 65507, not 63"),
        (1, GOOD, {"datagram_size": 65_508}, "datagram_size"),
        (1, GOOD, {"segment_size": 63}, "segment_size must be a whole number from 64 to 65507, not 63"),
        (1, GOOD, {"datagram_size": 20_000, "segment_size": 64}, "more than 255 segments of 64 bytes: give a larger"),
        (1, GOOD, {"receive_buffer": 0}, "receive_buffer"),
        (1, GOOD, {"send_buffer": -1}, "send_buffer"),
        (1, GOOD, {"family": 99}, "family must be socket.AF_INET"),
        (1, {node: ("127.0.0.1", node) for node in range(1, 1026)}, {}, "1024 entries at most, not 1025"),
    ],
)
async def test_misuse_says_what_would_be_right(node: Any, peers: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await open_unicast_udp(node, peers, **options)


async def test_largest_datagrams_go_through() -> None:
    one, two = free_ports(2)
    peers = {1: ("127.0.0.1", one), 2: ("127.0.0.1", two)}
    first, second = [await open_unicast_udp(node, peers, datagram_size=65_507) for node in (1, 2)]
    datagram = bytes(range(256)) * 255 + bytes(227)
    await first.send([(2, datagram), (2, b"x")])
    with trio.fail_after(10):
        got: list[bytes] = []
        while len(got) < 2:
            got += await second.receive()
    assert got == [datagram, b"x"]
    await close(first, second)


async def test_transport_that_cannot_be_made_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: DatagramSocket, receive_bytes: int, send_bytes: int) -> None:
        raise MemoryError

    (port,) = free_ports(1)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(DatagramSocket, "set_buffers", fail)
        await open_unicast_udp(1, {1: ("127.0.0.1", port)})
    transport = await open_unicast_udp(1, {1: ("127.0.0.1", port)})
    await transport.aclose()
