"""Interfaces that come back under another name, with another address or another index, while a transport is open."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import ipaddress
import select
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import namespaces
import pytest
import trio
from namespaces import Peer, RemoteError, hosts_on_a_bridge, peer_in
from transport_openers import GROUP, free_ports

from ringproto.log import BoundedLog
from ringproto.transports import TransportError, open_multicast_udp
from ringproto.transports._addresses import pack_address
from ringproto.transports._detection import Detection, detection_of
from ringproto.transports.interfaces import Interface, find_interface
from ringproto.transports.membership import GroupMembership
from ringproto.transports.multicast_udp import MulticastUDP

on_hosts = pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))
LO = find_interface("127.0.0.1", 4).name


@contextlib.asynccontextmanager
async def two_on(hosts: namespaces.Hosts, *, blocking: bool = False, **arguments: str) -> AsyncIterator[list[Peer]]:
    """Two that hear each other; the interface of the first may come back."""
    async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
        for node, peer in enumerate((first, second), 1):
            await peer.call("open_multicast", node=node, port=5405, **arguments)
            if blocking:
                await peer.call("begin_blocking")
        await meet_again([first, second], "before")
        yield [first, second]


async def meet_again(peers: list[Peer], text: str, tries: int = 200) -> None:
    """Both hear a multicast and a unicast of the other, within a bounded number of tries."""
    heard: set[str] = set()
    due = {f"{text} {node} {how}" for node in (1, 2) for how in ("to all", "to one")}
    for _ in range(tries):
        for node, peer in enumerate(peers, 1):
            await peer.send((0, f"{text} {node} to all"), (3 - node, f"{text} {node} to one"))
        for peer in peers:
            heard.update(await peer.receive(2, patience_s=0.05))
        if due <= heard:
            return
    raise AssertionError(f"only {heard} came; {[await peer.statistics() for peer in peers]}")


IPV4 = {"group": "239.192.7.1", "interface": "10.77.0.0/24"}
IPV4_NAME = {"group": "239.192.7.1", "interface": "eth0"}
IPV6 = {"group": "ff15::7:1", "interface": "fd77::/64"}
IPV6_LINK = {"group": "ff12::7:1", "interface": "eth0"}
IPV6_LINK_NETWORK = {"group": "ff12::7:1", "interface": "fe80::/64"}


@on_hosts
@pytest.mark.parametrize("blocking", [False, True], ids=["trio", "thread"])
@pytest.mark.parametrize("wire", [IPV4, IPV4_NAME], ids=["by network", "by name"])
async def test_interface_gets_another_address(wire: dict[str, str], blocking: bool) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, blocking=blocking, **wire) as peers:
            hosts.remove_address(1)
            await peers[0].send((0, "lost"))
            hosts.ip(1, "addr", "add", "10.77.0.9/24", "dev", "eth0")
            await meet_again(peers, "after")
            numbers = await peers[0].statistics()
            assert numbers["interface_changes"] == 1
            assert (await peers[1].statistics())["addresses_changed"] == 1
            assert "from 10.77.0.9:" in await peers[0].call("name")
            assert any(
                f"interface {wire['interface']!r} was eth0" in line and "with 10.77.0.9: the sockets were" in line
                for line in await peers[0].logged()
            )


@on_hosts
async def test_interface_gets_another_ipv6_address() -> None:
    # The system goes on sending from the old one, so nothing fails: it is the silence that tells.
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **IPV6, silence_s=0.5) as peers:  # type: ignore[arg-type]
            hosts.ip(1, "addr", "del", "fd77::1/64", "dev", "eth0")
            hosts.ip(1, "addr", "add", "fd77::9/64", "dev", "eth0", "nodad")
            await meet_again(peers, "after")


@on_hosts
@pytest.mark.parametrize("wire", [IPV4, IPV6], ids=["IPv4", "IPv6"])
async def test_interface_comes_back_under_another_name(wire: dict[str, str]) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **wire) as peers:
            hosts.remove_interface(1)
            await peers[0].send((0, "lost"))
            hosts.add_interface(1, "eth7")
            await meet_again(peers, "after")
            assert (await peers[0].statistics())["interface_changes"] == 1
            assert "by eth7" in await peers[0].call("name")


@on_hosts
@pytest.mark.parametrize("wire", [IPV4_NAME, IPV6_LINK], ids=["IPv4", "IPv6 link"])
async def test_interface_comes_back_with_another_index(wire: dict[str, str]) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **wire) as peers:
            hosts.remove_interface(1)
            await peers[0].send((0, "lost"))
            hosts.add_interface(1)
            await meet_again(peers, "after")


@on_hosts
async def test_interface_that_does_not_come_back_is_said_and_looked_up_again() -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **IPV4) as peers:
            hosts.remove_interface(1)
            for _ in range(30):
                await peers[0].send((0, "lost"))
                await peers[0].receive(1, patience_s=0.05)
            numbers = await peers[0].statistics()
            assert numbers["rejoins_failed"] >= 1 and "interface_changes" not in numbers
            text = "cannot be joined now, and is tried again: no interface has an address in 10.77.0.0/24"
            assert any(text in line for line in await peers[0].logged())


@on_hosts
async def test_stopgap_gives_way_to_the_address_that_comes_back_beside_it() -> None:
    # The peers have no route to it (avahi-autoipd, or a DHCP client that found no server).
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **IPV4_NAME) as peers:
            hosts.remove_address(1)
            hosts.ip(1, "addr", "add", "169.254.5.5/16", "dev", "eth0")
            await until_said(peers[0], "with 169.254.5.5: the sockets were opened anew")
            hosts.add_address(1)
            await until_said(peers[0], "with 10.77.0.1: the sockets were opened anew", peers[1])
            await meet_again(peers, "after")


@on_hosts
async def test_link_local_address_gives_way_to_the_wider_one_that_comes_back_beside_it() -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **{**IPV6, "interface": "eth0"}) as peers:
            hosts.ip(1, "addr", "del", "fd77::1/64", "dev", "eth0")
            await until_said(peers[0], "with fe80::1: the sockets were opened anew", peers[1])
            hosts.ip(1, "addr", "add", "fd77::1/64", "dev", "eth0", "nodad")
            await until_said(peers[0], "with fd77::1: the sockets were opened anew", peers[1])
            await meet_again(peers, "after")


@on_hosts
async def test_interface_whose_name_is_not_utf_8_is_left_out() -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.ip(1, "link", "add", "d\udcff1", "type", "veth", "peer", "name", "d2")
        for wire in (IPV4, IPV4_NAME):
            async with two_on(hosts, **wire):
                pass
        async with peer_in(hosts[1]) as peer:
            with pytest.raises(RemoteError, match=r"InterfaceError.*there are d2 \(no address\), eth0 "):
                await peer.call("open_multicast", node=1, port=5405, group="239.192.7.1", interface="eth9")


@on_hosts
async def test_interface_that_is_renamed_while_it_is_up_is_found_under_its_new_name() -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **IPV4) as peers:
            hosts.set_link(1, "down")
            hosts.ip(1, "link", "set", "eth0", "name", "lan7")
            hosts.ip(1, "link", "set", "lan7", "up")
            await until_said(peers[0], "and is now lan7", peers[1])
            await meet_again(peers, "after")
            hosts.ip(1, "link", "set", "lan7", "mtu", "600")
            await until_said(peers[0], "may have 600 bytes (as the MTU of the interface says)", peers[1])


@on_hosts
async def test_interface_given_by_name_that_is_renamed_is_said_when_it_begins_and_when_its_name_is_back() -> None:
    def about(lines: list[str]) -> list[str]:
        return [line for line in lines if "joined" in line]

    with hosts_on_a_bridge(2) as hosts:
        async with two_on(hosts, **IPV4_NAME) as peers:
            hosts.set_link(1, "down")
            hosts.ip(1, "link", "set", "eth0", "name", "lan7")
            hosts.ip(1, "link", "set", "lan7", "up")
            await until_said(
                peers[0], "cannot be joined now, and is tried again: there is no interface 'eth0'", peers[1]
            )
            before = (await peers[0].statistics())["rejoins_failed"]
            while (await peers[0].statistics())["rejoins_failed"] < before + 5:
                await peers[0].send((0, "by its index"))
                await peers[0].receive(1, patience_s=0.05)
            # The addresses of an interface are in its text, and come one after the other when it is up again.
            lines = about(await peers[0].logged())
            assert len(set(lines)) <= len(lines) <= len(set(lines)) + 2
            hosts.ip(1, "link", "set", "lan7", "down")
            hosts.ip(1, "link", "set", "lan7", "name", "eth0")
            hosts.ip(1, "link", "set", "eth0", "up")
            await until_said(peers[0], "joined again", peers[1])
            await meet_again(peers, "after")


@on_hosts
async def test_address_that_another_host_has_too_is_said_until_it_can_be_used() -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.sysctl(1, ipv6__conf__all__keep_addr_on_down=1, ipv6__conf__eth0__keep_addr_on_down=1)
        hosts.sysctl(1, ipv6__conf__eth0__accept_dad=1)
        hosts.ip(1, "addr", "del", "fd77::1/64", "dev", "eth0")
        hosts.ip(1, "addr", "add", "fd77::1/64", "dev", "eth0", "nodad")
        async with two_on(hosts, **IPV6) as peers:
            hosts.set_link(1, "down")
            hosts.ip(2, "addr", "add", "fd77::1/64", "dev", "eth0", "nodad")
            hosts.ip(1, "addr", "del", "fd77::1/64", "dev", "eth0")
            hosts.ip(1, "addr", "add", "fd77::1/64", "dev", "eth0")
            hosts.set_link(1, "up")
            await until_said(peers[0], "is a duplicate: the system found another host that has it")
            numbers = await peers[0].statistics()
            for _ in range(60):
                await peers[0].send((0, "lost"))
                await peers[0].receive(1, patience_s=0.05)
            assert (await peers[0].statistics()).get("rejoins") == numbers.get("rejoins"), "nothing is mended"
            hosts.ip(2, "addr", "del", "fd77::1/64", "dev", "eth0")
            hosts.ip(1, "addr", "del", "fd77::1/64", "dev", "eth0")
            hosts.ip(1, "addr", "add", "fd77::1/64", "dev", "eth0", "nodad")
            await meet_again(peers, "after", tries=400)


@on_hosts
async def test_own_name_leads_to_another_address_when_the_old_one_is_gone() -> None:
    # As after DHCP. The other one knows the new address already, so that this is the only thing that changes.
    with hosts_on_a_bridge(2) as hosts:
        hosts.set_names(1, alpha="10.77.0.1")
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            await first.call("open_unicast", node=1, peers={"1": ("alpha", 5001), "2": ("10.77.0.2", 5001)})
            await second.call("open_unicast", node=2, peers={"1": ("10.77.0.9", 5001), "2": ("10.77.0.2", 5001)})
            await first.send((2, "from a stranger"))
            assert await second.receive(1, patience_s=0.2) == []
            hosts.remove_address(1)
            hosts.ip(1, "addr", "add", "10.77.0.9/24", "dev", "eth0")
            hosts.set_names(1, alpha="10.77.0.9")
            await meet_again([first, second], "after", tries=400)
            assert (await first.statistics())["interface_changes"] == 1
            assert "at 10.77.0.9:5001" in await first.call("name")
            lines = await first.logged()
            assert any("is bound to 10.77.0.1:5001, and reaches nobody until" in line for line in lines)
            assert any("node 1 is at 10.77.0.9:5001 now, and was at 10.77.0.1:5001" in line for line in lines)


@on_hosts
@pytest.mark.parametrize("blocking", [False, True], ids=["trio", "thread"])
async def test_own_address_that_is_gone_is_said_and_used_again_when_it_is_back(blocking: bool) -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            table = {"1": ("10.77.0.1", 5001), "2": ("10.77.0.2", 5001)}
            for node, peer in enumerate((first, second), 1):
                await peer.call("open_unicast", node=node, peers=table)
                if blocking:
                    await peer.call("begin_blocking")
            await meet_again([first, second], "before")
            hosts.remove_address(1)
            for _ in range(200):
                await first.send((0, "lost"))
                await first.receive(1, patience_s=0.05)
                if any("reaches nobody until that address is back" in line for line in await first.logged()):
                    break
            else:
                raise AssertionError(f"it is not said: {await first.logged()}")
            hosts.add_address(1)
            await meet_again([first, second], "after")
            assert "interface_changes" not in await first.statistics()


@on_hosts
async def test_interface_of_link_local_addresses_comes_back_with_another_index() -> None:
    with hosts_on_a_bridge(2) as hosts:
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            table = {"1": ("fe80::1%eth0", 5001), "2": ("fe80::2%eth0", 5001)}
            for node, peer in enumerate((first, second), 1):
                await peer.call("open_unicast", node=node, peers=table)
            await meet_again([first, second], "before")
            hosts.remove_interface(1)
            await first.send((0, "lost"))
            hosts.ip(1, "link", "add", "d0", "type", "veth", "peer", "name", "d1")  # this takes the next index
            hosts.add_interface(1)
            await meet_again([first, second], "after", tries=400)
            assert (await first.statistics())["interface_changes"] == 1
            assert (await second.statistics()).get("interface_changes", 0) == 0


@on_hosts
async def test_new_own_address_whose_port_is_taken_is_said() -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.set_names(1, alpha="10.77.0.1")
        async with peer_in(hosts[1]) as first, peer_in(hosts[1]) as other:
            await first.call("open_unicast", node=1, peers={"1": ("alpha", 5001), "2": ("10.77.0.2", 5001)})
            hosts.remove_address(1)
            hosts.ip(1, "addr", "add", "10.77.0.9/24", "dev", "eth0")
            await other.call("open_unicast", node=2, peers={"2": ("10.77.0.9", 5001)})
            hosts.set_names(1, alpha="10.77.0.9")
            for _ in range(200):
                await first.send((0, "lost"))
                await first.receive(1, patience_s=0.05)
                if any("10.77.0.9:5001, the own entry of node 1, is taken" in line for line in await first.logged()):
                    break
            else:
                raise AssertionError(await first.logged())


async def until_said(peer: Peer, text: str, other: Peer | None = None, tries: int = 400) -> None:
    """It sends until it has logged this; meanwhile it hears ``other``, or nobody."""
    for _ in range(tries):
        await peer.send((0, "perhaps lost"))
        if other is not None:
            await other.send((0, "well"))
        await peer.receive(2, patience_s=0.05)
        if any(text in line for line in await peer.logged()):
            return
    raise AssertionError(f"{text!r} is not said: {await peer.logged()}")


@on_hosts
@pytest.mark.parametrize(
    ("stopgap", "why"),
    [
        ("127.0.0.2", "does not reach node 2 at 10.77.0.2:5001"),
        ("169.254.5.5", "does not reach node 2 at 10.77.0.2:5001"),
        ("224.0.0.1", "is a multicast group"),
        ("0.0.0.0", "stands for every address of a host"),
        ("10.77.0.2", "is that of node 2"),
    ],
)
async def test_own_name_that_leads_to_a_stopgap_is_not_followed(stopgap: str, why: str) -> None:
    # The resolver of some systems answers like that while the network is down (systemd's nss-myhostname).
    with hosts_on_a_bridge(2) as hosts:
        hosts.set_names(1, alpha="10.77.0.1")
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            table = {"1": ("alpha", 5001), "2": ("10.77.0.2", 5001)}
            await first.call("open_unicast", node=1, peers=table)
            await second.call("open_unicast", node=2, peers={**table, "1": ("10.77.0.1", 5001)})
            await meet_again([first, second], "before")
            hosts.set_names(1, alpha=stopgap)
            hosts.remove_address(1)
            hosts.ip(1, "addr", "add", "169.254.5.5/16", "dev", "eth0")
            await until_said(first, f"node 1 does not go where its name leads: {stopgap}:5001 {why}")
            hosts.set_names(1, alpha="10.77.0.1")
            hosts.add_address(1)
            await meet_again([first, second], "after")
            assert "interface_changes" not in await first.statistics()


@on_hosts
@pytest.mark.parametrize("stopgap", ["127.0.1.1", "169.254.5.5"])
async def test_own_name_that_led_to_a_stopgap_at_the_opening_is_looked_up_until_it_leads_farther(stopgap: str) -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.remove_address(1)
        hosts.ip(1, "addr", "add", "169.254.5.5/16", "dev", "eth0")
        hosts.set_names(1, alpha=stopgap)
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            await first.call("open_unicast", node=1, peers={"1": ("alpha", 5001), "2": ("10.77.0.2", 5001)})
            await second.call("open_unicast", node=2, peers={"1": ("10.77.0.1", 5001), "2": ("10.77.0.2", 5001)})
            await until_said(first, f"{stopgap}:5001, reaches ")
            hosts.add_address(1)
            hosts.set_names(1, alpha="10.77.0.1")
            await meet_again([first, second], "after", tries=400)
            assert any(f"at 10.77.0.1:5001 now, and was at {stopgap}:5001" in line for line in await first.logged())


# How a transport goes on with other sockets; on the loopback interface, by hand.


async def on_loopback() -> tuple[MulticastUDP, MulticastUDP]:
    (port,) = free_ports(1)
    first, second = [await open_multicast_udp(node, GROUP, port, interface=LO) for node in (1, 2)]
    return first, second


def move(transport: MulticastUDP) -> None:
    """Go on with other sockets, as if the interface had another address."""
    former = transport._membership
    transport._move(GroupMembership(former.group, former.port, former.interface, former.ttl))


@pytest.mark.parametrize("with_epoll", [True, False], ids=["epoll", "nursery"])
async def test_who_waits_in_receive_goes_on_with_the_new_sockets(with_epoll: bool) -> None:
    first, second = await on_loopback()
    if not with_epoll:
        assert first._readable._epoll is not None
        first._readable._epoll.close()
        first._readable._epoll = None
        first._readable.fd = first._readable_fd = first._wait_for = -1
    got: list[bytes] = []

    async def receive() -> None:
        got.extend(await first.receive())

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            sent = first.statistics()["datagrams_sent"]
            move(first)
            await trio.testing.wait_all_tasks_blocked()
            assert first.statistics()["datagrams_sent"] == sent
            await second.send([(0, b"x")])
    assert got == [b"x"]
    await first.send([(0, b"y")])
    assert await second.receive() == [b"y"]
    assert first.statistics()["datagrams_sent"] == sent + 1
    await first.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await first.receive()
    await second.aclose()


async def test_thread_goes_on_with_the_new_sockets() -> None:
    first, second = await on_loopback()
    first.begin_blocking()
    move(first)
    await second.send([(0, b"x")])
    assert first._blocking is not None
    assert first._blocking._all.poll(10_000) == [(first._group.socket.fileno(), select.POLLIN)], "it wakes the thread"
    assert first.receive_blocking(10.0) == [b"x"]
    assert first._own.receiver.keeps_gil, "as that of the socket before"
    first.send_blocking([(0, b"y"), (2, b"z")])
    got = await second.receive()
    while len(got) < 2:
        got += await second.receive()
    assert sorted(got) == [b"y", b"z"]
    for transport in (first, second):
        await transport.aclose()


async def test_id_is_free_where_the_transport_was_before() -> None:
    first, second = await on_loopback()
    move(first)
    group, port = str(first._membership.group), first._membership.port
    with pytest.raises(ValueError, match="node 1 is open already"):
        await open_multicast_udp(1, group, port, interface=LO)
    await first.aclose()
    again = await open_multicast_udp(1, group, port, interface=LO)
    for transport in (again, second):
        await transport.aclose()


def look_up_by(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], patience_s: float = 10.0) -> None:
    """The interface of a transport is gone, and this finds another one; that is waited for."""
    monkeypatch.setattr("ringproto.transports.multicast_udp.as_before", lambda *arguments: None)
    monkeypatch.setattr("ringproto.transports.multicast_udp.usable_interface", function)
    monkeypatch.setattr("ringproto.transports._search.PATIENCE_S", patience_s)


async def test_look_up_that_takes_long_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await on_loopback()
    found = dataclasses.replace(first._membership.interface, name=f"{LO}:7")
    goes_on = threading.Event()
    asked = []

    def slowly(*arguments: Any) -> Interface:
        asked.append(arguments)
        goes_on.wait(60)
        return found

    look_up_by(monkeypatch, slowly, patience_s=0.0)
    first._after_loss(errno.ENODEV, first._everybody[0])
    for number in range(50):
        await first.send([(0, b"%d" % number)])
        assert await second.receive() == [b"%d" % number]
        await trio.sleep(0.1)
    assert len(asked) == 1, "one at a time"
    assert "interface_changes" not in first.statistics()
    goes_on.set()
    assert first._search is not None
    first._search._thread.join()
    for _ in range(15):
        await first.send([(0, b"x")])
        await trio.sleep(0.1)
    assert first.statistics()["interface_changes"] == 1
    assert len(asked) == 1
    for transport in (first, second):
        await transport.aclose()


@pytest.mark.parametrize("error", [ValueError("interface '1.2.3.4' is IPv4"), RuntimeError("can't start new thread")])
async def test_look_up_that_is_a_value_error_or_gets_no_thread_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    first, second = await on_loopback()

    def fail(*arguments: Any) -> Any:
        raise error

    look_up_by(monkeypatch, fail)
    first._after_loss(errno.ENODEV, first._everybody[0])
    await first.send([(0, b"x")])
    assert f"cannot be joined now, and is tried again: {error}" in caplog.messages[-1]
    for transport in (first, second):
        await transport.aclose()


async def test_one_destination_that_cannot_be_reached_is_no_trouble_of_the_interface(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first, second = await on_loopback()
    await second.send([(0, b"x")])
    await first.receive()
    bad = pack_address(("127.0.0.9", 5001))
    for _ in range(3):
        first._after_loss(errno.EHOSTUNREACH, bad)
        await first.send([(0, b"x")])
        await trio.sleep(1.1)  # more than REJOIN_EVERY_S each, and in all less than silence_s
    assert "rejoins" not in first.statistics()
    for transport in (first, second):
        await transport.aclose()


async def test_loss_of_a_broadcast_counts_whatever_is_lost_behind_it() -> None:
    first, second = await on_loopback()
    await second.send([(0, b"x")])
    await first.receive()

    class Failing:
        refused = 0

        def send(self, *arguments: Any) -> int:
            return -errno.ENODEV

    line = first._own
    sender, line.sender = line.sender, Failing()  # type: ignore[assignment]
    places = [first._everybody[0], first._addresses[2]]
    assert line.write_some(places, [b"", b""], [b"y", b"z"], 0) == 2
    assert line.lost_address == first._everybody[0]
    assert first._counts["send_errors_ENODEV"] == 2
    line.sender = sender
    for transport in (first, second):
        await transport.aclose()


async def test_first_batch_after_a_change_goes_by_the_new_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await on_loopback()
    await second.send([(0, b"x")])
    await first.receive()
    before, now = pack_address(("127.0.0.1", 9)), first._addresses[2]
    monkeypatch.setattr(MulticastUDP, "_tend", lambda self, _: self._addresses.update({2: now}))

    async def sends() -> AsyncIterator[None]:
        await first.send([(2, b"by send")])
        yield
        first.send_nowait([(2, b"by send_nowait")])
        yield
        first.begin_blocking()
        first.send_blocking([(2, b"by send_blocking")])
        yield

    first._addresses[2], first._look_after = before, 1
    async for _ in sends():
        with trio.fail_after(10):
            assert len(await second.receive()) == 1
        first._addresses[2] = before
    for transport in (first, second):
        await transport.aclose()


async def test_interface_that_goes_away_while_the_group_is_joined_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await on_loopback()
    former = first._membership

    def fail(name: str) -> int:
        raise OSError("no interface with this name")  # as Python does

    monkeypatch.setattr("ringproto.transports.multicast_udp.as_before", lambda *arguments: former.interface)
    monkeypatch.setattr("ringproto.transports.membership.socket.if_nametoindex", fail)
    with pytest.raises(TransportError, match=f"cannot be joined on interface {LO}: no interface with") as raised:
        GroupMembership(former.group, former.port, former.interface, former.ttl)
    assert raised.value.errno == errno.ENODEV
    first._after_loss(errno.ENODEV, first._everybody[0])
    await first.send([(0, b"x")])
    assert caplog.messages[-1].endswith("cannot be joined now, and is tried again: no interface with this name")
    for transport in (first, second):
        await transport.aclose()


async def test_group_that_cannot_be_joined_is_said_ever_more_seldom_and_when_the_cause_is_another(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await on_loopback()
    first._log = BoundedLog("ringproto.transports", trio.current_time, waiting=first._unsaid)
    why = ["there is no interface 'eth0'"]

    def fail(*arguments: Any) -> Any:
        raise TransportError(errno.ENODEV, why[-1])

    async def said_within(seconds: int) -> list[str]:
        caplog.clear()
        for _ in range(seconds):
            await first.send([(0, b"x")])
            await trio.sleep(1)
        return [line.partition("tried again: [Errno 19] ")[2] for line in caplog.messages if "joined" in line]

    look_up_by(monkeypatch, fail)
    first._after_loss(errno.ENODEV, first._everybody[0])
    caplog.clear()
    assert await said_within(60) == why * 5  # after 0, 2, 6, 14 and 30 seconds
    why.append("interface 'eth0' is down")
    assert (await said_within(3))[:1] == why[1:]
    monkeypatch.undo()
    assert any("was joined again" in line for line in await joined_again(first, caplog))
    for transport in (first, second):
        await transport.aclose()


async def joined_again(transport: MulticastUDP, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What it says until it has joined again."""
    caplog.clear()
    while transport._trouble:
        await transport.send([(0, b"x")])
        await trio.sleep(1)
    return caplog.messages


async def test_address_that_cannot_be_bound_yet_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = await on_loopback()
    tries: list[Any] = []

    def fail(*arguments: Any) -> Any:
        tries.append(arguments)
        raise TransportError(errno.EADDRNOTAVAIL, "not an address of this host")

    look_up_by(monkeypatch, fail)
    first._after_loss(errno.EINVAL, first._everybody[0])
    for _ in range(35):
        await first.send([(0, b"x")])
        await trio.sleep(0.1)
    assert len(tries) == first.statistics()["rejoins_failed"] == 4
    monkeypatch.undo()
    for _ in range(10):
        await first.send([(0, b"x")])
        await trio.sleep(0.1)
    assert first.statistics()["rejoins"] == 1
    for transport in (first, second):
        await transport.aclose()


# What cannot be opened, and why


@on_hosts
async def test_tentative_address_is_called_so() -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.sysctl(1, ipv6__conf__eth0__accept_dad=1, ipv6__conf__eth0__dad_transmits=60)
        hosts.ip(1, "addr", "add", "fd77::7/64", "dev", "eth0")
        async with peer_in(hosts[1]) as peer:
            why = r"TransportError: .*fd77::7.* tentative: the system still looks for another host that has it"
            table = {"1": ("fd77::7", 5001), "2": ("fd77::2", 5001)}
            with pytest.raises(RemoteError, match=why):
                await peer.call("open_unicast", node=1, peers=table)
            with pytest.raises(RemoteError, match=why):
                await peer.call("open_multicast", node=1, port=5405, group="ff15::7:1", interface="fd77::7")


@on_hosts
async def test_address_that_another_host_has_is_called_a_duplicate() -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.ip(2, "addr", "add", "fd77::7/64", "dev", "eth0", "nodad")
        hosts.sysctl(1, ipv6__conf__eth0__accept_dad=1)
        hosts.ip(1, "addr", "add", "fd77::7/64", "dev", "eth0")
        async with peer_in(hosts[1]) as peer:
            why = "fd77::7.* is tentative"
            with trio.fail_after(30):
                while "tentative" in why:
                    with pytest.raises(RemoteError, match="fd77::7") as raised:
                        await peer.call("open_unicast", node=1, peers={"1": ("fd77::7", 5001), "2": ("fd77::2", 5001)})
                    why = str(raised.value)
                    await trio.sleep(0.1)
            for text in ("TransportError", "is a duplicate: the system found another host", "remove and add it here"):
                assert text in why


def test_detection_is_told_for_each_interface_by_itself(tmp_path: Path) -> None:
    table = tmp_path / "if_inet6"
    address = ipaddress.IPv6Address("fe80::1")
    table.write_text(
        "".join(
            f"{int(address):032x} {index:02x} 40 20 {flags:02x} eth{index}\n"
            for index, flags in ((2, 0x80), (3, 0xC0), (4, 0xC8), (11, 0xC0))
        )
    )
    assert [detection_of(address, index, table) for index in (2, 3, 4, 11, 5)] == [
        Detection.OVER,
        Detection.UNDER_WAY,
        Detection.FAILED,
        Detection.UNDER_WAY,
        Detection.OVER,
    ]
    assert detection_of(ipaddress.IPv6Address("fe80::2"), table=table) is Detection.OVER
    assert detection_of(address, table=tmp_path / "none") is Detection.OVER


async def test_link_local_address_without_its_interface_is_called_so() -> None:
    from ringproto.transports import open_unicast_udp

    for node, peers in enumerate(
        ({1: ("fe80::1", 5001), 2: ("fe80::2%lo", 5001)}, {1: ("fe80::1", 5001), 2: ("::1", 5001)}), 1
    ):
        with pytest.raises(ValueError, match=r"link-local.*name its interface.*fe80::1%"):
            await open_unicast_udp(node, peers)
