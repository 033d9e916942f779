"""Networks whose packets are smaller than usual, from the start or while a transport is open."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import namespaces
import pytest
import trio
from namespaces import Hosts, Peer, hosts_on_a_bridge, peer_in

pytestmark = pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))

WAYS = pytest.mark.parametrize("way", ["unicast IPv4", "unicast IPv6", "multicast IPv4", "multicast IPv6"])
FACES = pytest.mark.parametrize(
    ("way", "interpreted"),
    [
        *((f"{kind} {version}", "0") for kind in ("unicast", "multicast") for version in ("IPv4", "IPv6")),
        ("unicast IPv6", "1"),
        ("multicast IPv4", "1"),
    ],
)
SIZES = [1, 1200, 1300, 1344, 3000, 10_000]
"""Of datagrams: such as fit into every packet, such as fit into the usual ones only, and such as are always cut."""


@contextlib.asynccontextmanager
async def open_on(hosts: Hosts, way: str, *numbers: int, interpreted: str = "0") -> AsyncIterator[list[Peer]]:
    """A transport on each of these hosts; the plain sockets are used where the sources are interpreted."""
    async with contextlib.AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(peer_in(hosts[number], RINGPROTO_INTERPRETED=interpreted))
            for number in numbers
        ]
        table = {
            "unicast IPv4": {str(number): (f"10.77.0.{number}", 5001) for number in numbers},
            "unicast IPv6": {str(number): (f"fd77::{number}", 5001) for number in numbers},
        }
        groups = {
            "multicast IPv4": {"group": "239.192.7.1", "interface": "10.77.0.0/24"},
            "multicast IPv6": {"group": "ff15::7:1", "interface": "fd77::/64"},
        }
        for number, peer in zip(numbers, peers, strict=True):
            if way in table:
                await peer.call("open_unicast", node=number, peers=table[way])
            else:
                await peer.call("open_multicast", node=number, port=5405, **groups[way])
        for peer in peers:
            await peer.send((0, "hello"))
        for peer in peers:
            assert await peer.receive(len(peers) - 1) == ["hello"] * (len(peers) - 1)
        yield peers


async def exchange(peers: list[Peer]) -> None:
    """Everybody broadcasts datagrams of all sizes, and everybody gets those of everybody else."""
    for place, peer in enumerate(peers):
        await peer.send(*((0, "x" * size) for size in SIZES))
        for other in peers[:place] + peers[place + 1 :]:
            assert [len(one) for one in await other.receive(len(SIZES))] == SIZES


def fitting(way: str, mtu: int) -> int:
    """Bytes of the largest segment that fits into a packet."""
    return mtu - (28 if way.endswith("4") else 48)


async def check_no_loss(peers: list[Peer]) -> None:
    for peer in peers:
        numbers = await peer.statistics()
        assert not [name for name, count in numbers.items() if name.startswith(("send_errors", "drops")) and count]


@FACES
async def test_small_packets_from_the_start(way: str, interpreted: str) -> None:
    with hosts_on_a_bridge(2, mtu=1280) as hosts:
        async with open_on(hosts, way, 1, 2, interpreted=interpreted) as peers:
            await exchange(peers)
            await check_no_loss(peers)
            for peer in peers:
                numbers = await peer.statistics()
                assert numbers["segment_bytes"] == fitting(way, 1280)
                assert numbers["offload_sending"] == int(interpreted == "0"), "runs of that size are taken"
                (line,) = await peer.logged()
                assert "may have 1280 bytes" in line and f"datagrams of {fitting(way, 1280)} bytes" in line


@FACES
async def test_packets_that_become_smaller_while_it_runs(way: str, interpreted: str) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with open_on(hosts, way, 1, 2, interpreted=interpreted) as peers:
            await exchange(peers)
            for number in (1, 2):
                hosts.set_mtu(number, 1280)
            # The very first run already is cut by the system, if not by us: nothing is lost.
            for _ in range(10):
                await exchange(peers)
            await check_no_loss(peers)
            for peer in peers:
                numbers = await peer.statistics()
                if interpreted == "0":
                    assert numbers["runs_refused_EMSGSIZE"] == 1
                    assert numbers["segment_bytes"] == fitting(way, 1280)
                    assert numbers["offload_sending"] == 1
                    (line,) = await peer.logged()
                    assert "may have 1280 bytes" in line


@pytest.mark.parametrize("way", ["unicast IPv4", "multicast IPv6"])
async def test_packets_that_become_smaller_while_a_thread_drives_it(way: str) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with open_on(hosts, way, 1, 2) as peers:
            for peer in peers:
                await peer.call("begin_blocking")
            await exchange(peers)
            hosts.set_mtu(1, 1280)
            # The other one learns it from what the first one says, which looks at it from time to time.
            for _ in range(400):
                for peer in peers:
                    await peer.send((0, "hello"))
                for peer in peers:
                    await peer.receive(1, patience_s=0.05)
                await trio.sleep(0.05)
                if all([(await peer.statistics())["segment_bytes"] == fitting(way, 1280) for peer in peers]):
                    break
            else:
                raise AssertionError([await peer.statistics() for peer in peers])
            await exchange(peers)


@WAYS
async def test_one_host_that_takes_small_packets_only_tells_the_others(way: str) -> None:
    # The link drops what is larger than its other end takes, and the system of the sender cannot know.
    with hosts_on_a_bridge(3) as hosts:
        hosts.set_mtu(1, 1280)
        async with open_on(hosts, way, 1, 2, 3) as peers:
            for _ in range(200):
                for peer in peers:
                    await peer.send((0, "hello"))
                for peer in peers:
                    await peer.receive(2)
                if all([(await peer.statistics())["segment_bytes"] == fitting(way, 1280) for peer in peers]):
                    break
            await exchange(peers)
            for peer in peers[1:]:
                (line,) = await peer.logged()
                assert ("may have 1280 bytes" in line and "as it says itself" in line) or "as a member says" in line


@pytest.mark.parametrize("way", ["unicast IPv4", "unicast IPv6"])
async def test_path_to_one_peer_that_takes_less_leaves_the_others_as_they_are(way: str) -> None:
    with hosts_on_a_bridge(3) as hosts:
        address = "10.77.0.2/32" if way.endswith("4") else "fd77::2/128"
        hosts.ip(1, "route", "add", address, "dev", "eth0", "mtu", "1280")
        async with open_on(hosts, way, 1, 2, 3) as peers:
            first = peers[0]
            before = (await first.statistics())["datagrams_sent"]
            await first.send((0, "x" * 10_000))
            for other in peers[1:]:
                assert await other.receive(1) == ["x" * 10_000]
            numbers = await first.statistics()
            narrow, usual = (-(-10_000 // (size - 8)) for size in (fitting(way, 1280), 1352))
            assert numbers["datagrams_sent"] - before == narrow + usual and narrow > usual
            assert numbers["offload_sending"] == 1
            await exchange(peers)
            (line,) = await first.logged()
            assert line.startswith(f"packets to {'10.77.0.2' if way.endswith('4') else '[fd77::2]'}:5001 may have 1280")


async def test_path_that_a_router_says_is_smaller() -> None:
    """Host 2 routes to host 3 by a link with an MTU of 1280, and says so when the first large packet comes."""
    with hosts_on_a_bridge(3) as hosts:
        hosts.remove_interface(3)
        hosts.ip(2, "link", "add", "r0", "mtu", "1280", "type", "veth", "peer", "name", "eth0", "netns", hosts[3])
        hosts.set_mtu(3, 1280)
        for number, interface in ((2, "r0"), (3, "eth0")):
            hosts.ip(number, "link", "set", interface, "up")
            hosts.ip(number, "addr", "add", f"10.78.0.{number}/24", "dev", interface)
        hosts.sysctl(2, ipv4__ip_forward=1)
        hosts.ip(1, "route", "add", "10.78.0.0/24", "via", "10.77.0.2")
        hosts.ip(3, "route", "add", "10.77.0.0/24", "via", "10.78.0.2")
        async with peer_in(hosts[1]) as first, peer_in(hosts[3]) as third:
            table = {"1": ("10.77.0.1", 5001), "3": ("10.78.0.3", 5001)}
            await first.call("open_unicast", node=1, peers=table)
            await third.call("open_unicast", node=3, peers=table)
            await third.send((1, "hello"))
            assert await first.receive(1) == ["hello"]
            # A single packet may not be cut on its way: the first is lost, until the message of the router is here.
            for _ in range(50):
                await first.send((3, "x" * 1344))
                if await third.receive(1, patience_s=0.1):
                    break
            for _ in range(10):
                await first.send((3, "y" * 10_000))
                assert await third.receive(1) == ["y" * 10_000]
            assert (await first.statistics())["segment_bytes"] == 1252


async def test_small_packets_are_no_news_where_they_are_large_enough() -> None:
    with hosts_on_a_bridge(2, mtu=1380) as hosts:
        async with open_on(hosts, "unicast IPv4", 1, 2) as peers:
            await exchange(peers)
            assert (await peers[0].statistics())["segment_bytes"] == 1352
            assert await peers[0].logged() == []
