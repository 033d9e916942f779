"""Transports between hosts: real processes in network namespaces, and interfaces that go away."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable

import namespaces
import pytest
from namespaces import Hosts, Peer, RemoteError, hosts_on_a_bridge, peer_in

pytestmark = pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))

IPV4 = {"group": "239.192.7.1", "interface": "10.77.0.0/24"}
IPV6 = {"group": "ff15::7:1", "interface": "fd77::/64"}
IPV6_LINK = {"group": "ff12::7:1", "interface": "eth0"}
GROUPS = pytest.mark.parametrize("group", [IPV4, IPV6, IPV6_LINK], ids=["ipv4", "ipv6", "ipv6-link"])


@contextlib.asynccontextmanager
async def peers_on(*places: str) -> AsyncIterator[list[Peer]]:
    """A process in each of the namespaces named."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(peer_in(place)) for place in places]


async def open_multicast(peers: list[Peer], group: dict[str, str], **options: object) -> None:
    for node, peer in enumerate(peers, 1):
        await peer.call("open_multicast", node=node, port=5405, **group, **options)


async def meet(peers: list[Peer]) -> None:
    """Everybody hears everybody, once."""
    for node, peer in enumerate(peers, 1):
        await peer.send((0, f"hello {node}"))
    for node, peer in enumerate(peers, 1):
        due = sorted(f"hello {other}" for other in range(1, len(peers) + 1) if other != node)
        assert sorted(await peer.receive(len(due))) == due


async def talk(peers: list[Peer]) -> None:
    """Broadcasts in order to everybody else, unicasts to one alone."""
    data = [f"data {number}" for number in range(100)]
    first, second, third = peers
    await first.send(*((0, one) for one in data), (2, "token"))
    assert await second.receive(101) == [*data, "token"]
    assert await third.receive(100) == data
    for peer in peers:
        assert await peer.receive(1, patience_s=0.1) == []
        statistics = await peer.statistics()
        assert not [name for name, count in statistics.items() if "errors" in name and count]
        assert not [name for name, count in statistics.items() if name.startswith("drops_") and count]


@GROUPS
async def test_multicast_between_processes_of_one_host_and_another_host(group: dict[str, str]) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with peers_on(hosts[1], hosts[1], hosts[2]) as peers:
            await open_multicast(peers, group)
            await meet(peers)
            await talk(peers)


@pytest.mark.parametrize("host", ["10.77.0.{}", "fd77::{}", "fe80::{}%eth0"], ids=["ipv4", "ipv6", "ipv6-link"])
async def test_unicast_between_hosts(host: str) -> None:
    with hosts_on_a_bridge(3) as hosts:
        async with peers_on(hosts[1], hosts[2], hosts[3]) as peers:
            table = {str(node): (host.format(node), 5001) for node in (1, 2, 3)}
            for node, peer in enumerate(peers, 1):
                await peer.call("open_unicast", node=node, peers=table)
            await meet(peers)
            await talk(peers)


async def test_multicast_of_other_interfaces_is_not_heard() -> None:
    # Two hosts with the same group and port, and a program on each that hears it by another interface.
    with hosts_on_a_bridge(2) as hosts:
        async with peers_on(hosts[1], hosts[1]) as (by_ethernet, by_loopback):
            await by_ethernet.call("open_multicast", node=1, port=5405, group="239.192.7.1", interface="eth0")
            await by_loopback.call("open_multicast", node=2, port=5405, group="239.192.7.1", interface="lo")
            for peer, text in ((by_ethernet, "ethernet"), (by_loopback, "loopback")):
                await peer.send((0, text))
            assert await by_ethernet.receive(1, patience_s=0.2) == []
            assert await by_loopback.receive(1, patience_s=0.2) == []


@GROUPS
async def test_interface_that_is_down_for_a_while(group: dict[str, str]) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with peers_on(hosts[1], hosts[2]) as peers:
            await open_multicast(peers, group)
            await meet(peers)
            hosts.set_link(1, "down")
            for _ in range(5):
                await peers[0].send((0, "lost"), (2, "lost too"))
            assert await peers[1].receive(1, patience_s=0.1) == []
            await peers[1].send((0, "lost"))
            assert await peers[0].receive(1, patience_s=0.1) == []
            restore(hosts)
            await eventually_meet(peers)


async def test_address_that_is_gone_for_a_while() -> None:
    # The system forgets the memberships of an interface that has no IPv4 address.
    with hosts_on_a_bridge(2) as hosts:
        async with peers_on(hosts[1], hosts[2]) as peers:
            await open_multicast(peers, IPV4)
            await meet(peers)
            hosts.remove_address(1)
            for _ in range(5):
                await peers[0].send((0, "lost"), (2, "lost too"))
            assert await peers[1].receive(1, patience_s=0.1) == []
            statistics = await peers[0].statistics()
            assert sum(count for name, count in statistics.items() if name.startswith("send_errors_")) > 0
            hosts.add_address(1)
            await eventually_meet(peers)
            await until(peers, lambda numbers: numbers[0].get("rejoins", 0) >= 1)


@pytest.mark.parametrize("group", [IPV4, IPV6], ids=["ipv4", "ipv6"])
async def test_interface_that_is_taken_out_and_put_in_again(group: dict[str, str]) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with peers_on(hosts[1], hosts[2]) as peers:
            await open_multicast(peers, group)
            await meet(peers)
            hosts.remove_interface(1)
            for _ in range(5):
                await peers[0].send((0, "lost"), (2, "lost too"))
            assert await peers[0].receive(1, patience_s=0.1) == []
            hosts.add_interface(1)
            await eventually_meet(peers)


def restore(hosts: Hosts) -> None:
    """Set eth0 of the first host up again, with the addresses that it lost (IPv6 ones go with the link)."""
    hosts.set_link(1, "up")
    for address in ("fd77::1/64", "fe80::1/64"):
        with contextlib.suppress(subprocess.CalledProcessError):
            namespaces._ip("-n", hosts[1], "addr", "add", address, "dev", "eth0", "nodad")


async def eventually_meet(peers: list[Peer]) -> None:
    """Both hear each other again within a bounded number of tries, as the protocol above would try."""
    heard: set[int] = set()
    for attempt in range(60):
        for place, peer in enumerate(peers):
            await peer.send((0, f"again {attempt}"))
            other = peers[1 - place]
            if any(text.startswith("again") for text in await other.receive(1, patience_s=0.05)):
                heard.add(place)
        if len(heard) == 2:
            return
    raise AssertionError(f"only {heard} could be heard; {[await peer.statistics() for peer in peers]}")


async def until(
    peers: list[Peer], condition: Callable[[list[dict[str, int]]], bool], text: str = "x", patience_s: float = 30.0
) -> list[dict[str, int]]:
    """Let everybody multicast and read, until this holds for the statistics of all; returns these.

    What is waited for may be due a second or more from now, however fast datagrams come meanwhile.
    """
    numbers: list[dict[str, int]] = []
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        for peer in peers:
            await peer.send((0, text))
        for peer in peers:
            await peer.receive(1, patience_s=0.03)
        numbers = [await peer.statistics() for peer in peers]
        if condition(numbers):
            return numbers
    raise AssertionError(f"it did not happen; {numbers}")


@pytest.mark.skipif(shutil.which("tc") is None, reason="a slow interface needs tc(8), which is not installed")
async def test_slow_interface_fills_the_send_buffer() -> None:
    with hosts_on_a_bridge(2) as hosts:
        try:
            limits = ["rate", "80kbit", "burst", "1600", "limit", "100000000"]
            command = ["tc", "-n", hosts[1], "qdisc", "add", "dev", "eth0", "root", "tbf", *limits]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"this kernel has no token bucket filter: {exc.stderr!r}")
        async with peers_on(hosts[1], hosts[2]) as peers:
            await open_multicast(peers, IPV4, send_buffer=8192, offload=False)  # a run would be taken whole
            await peers[0].send(*[(0, "x" * 1000)] * 50)
            statistics = await peers[0].statistics()
            assert statistics["send_waits"] == 1
            assert statistics["drops_send_buffer_full"] > 0
            assert statistics["datagrams_sent"] + statistics["drops_send_buffer_full"] == 50


async def test_host_without_the_interface_says_which_there_are() -> None:
    with hosts_on_a_bridge(1) as hosts:
        async with peers_on(hosts[1]) as (peer,):
            with pytest.raises(RemoteError, match=r"InterfaceError: there is no interface 'eth7': there are .*eth0"):
                await peer.call("open_multicast", node=1, port=5405, group="239.192.7.1", interface="eth7")
            hosts.set_link(1, "down")
            with pytest.raises(RemoteError, match="InterfaceError: interface 'eth0' is down"):
                await peer.call("open_multicast", node=1, port=5405, group="239.192.7.1", interface="eth0")
            hosts.remove_address(1)
            with pytest.raises(RemoteError, match=r"InterfaceError: interface 'eth0' has no IPv4 address"):
                await peer.call("open_multicast", node=1, port=5405, group="239.192.7.1", interface="eth0")


async def test_multicast_opens_while_other_interfaces_come_and_go() -> None:
    with hosts_on_a_bridge(1) as hosts:
        churn = "while ip link add v0 type veth peer name v1; do ip link del v0; done"
        async with peers_on(hosts[1]) as (peer,):
            with subprocess.Popen(["ip", "netns", "exec", hosts[1], "sh", "-c", churn]) as changing:
                try:
                    assert await peer.call("open_often", times=500, node=1, port=5405, **IPV4) == []
                    assert changing.poll() is None, "they come and go still"
                finally:
                    changing.kill()
