"""Multicast UDP: who is where, what is one's own, what goes before what."""

from __future__ import annotations

import errno
import gc
import socket
import struct
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from transport_openers import GROUP, free_ports

from ringproto.transports import AddressInUseError, InterfaceError, TransportError, interfaces, open_multicast_udp
from ringproto.transports._sockets import Sizes
from ringproto.transports.interfaces import Interface, find_interface
from ringproto.transports.membership import GroupMembership, usable_interface
from ringproto.transports.multicast_udp import HEADER_SIZE, HELD_ROUNDS_MAX, MAGIC, PEERS_MAX, MulticastUDP

LO = find_interface("127.0.0.1", 4).name


def header(node: int) -> bytes:
    return b"RPM\x01" + node.to_bytes(4, "big")


async def open_nodes(*nodes: int, **options: Any) -> list[MulticastUDP]:
    (port,) = free_ports(1)
    return [await open_multicast_udp(node, GROUP, port, interface=LO, **options) for node in nodes]


async def close(*transports: MulticastUDP) -> None:
    for transport in transports:
        await transport.aclose()


async def waiting(transport: MulticastUDP, within_s: float = 0.05) -> list[bytes]:
    """All that arrives until it is quiet."""
    got: list[bytes] = []
    while True:
        with trio.move_on_after(within_s):
            got += await transport.receive()
            continue
        return got


async def meet(*transports: MulticastUDP) -> None:
    for transport in transports:
        await transport.send([(0, b"hello")])
    for transport in transports:
        assert len(await waiting(transport)) == len(transports) - 1


@pytest.fixture
async def three(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[MulticastUDP]]:
    """Three processors that have met, and read in small batches, so that the smallest receive buffer takes several."""
    monkeypatch.setattr("ringproto.transports._sockets.BATCH_MAX", 16)
    transports = await open_nodes(1, 2, 3, offload=False)
    await meet(*transports)
    yield transports
    await close(*transports)


@pytest.fixture
def stranger() -> Any:
    """A socket that can send to everybody on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        yield sock


def group_of(transport: MulticastUDP) -> tuple[str, int]:
    return (str(transport._membership.group), transport._membership.port)


def test_header_is_as_documented() -> None:
    assert MAGIC.hex() == "52504d01"
    assert len(header(1)) == HEADER_SIZE


async def test_header_on_the_wire_is_magic_and_node_id() -> None:
    (transport,) = await open_nodes(0x01020304)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as witness:
        witness.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        witness.bind(group_of(transport))
        request = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
        witness.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        witness.settimeout(10)
        await transport.send([(0, b"payload")])
        data, _ = witness.recvfrom(2000)
    assert data == bytes.fromhex("52504d01 01020304") + b"payload"
    await transport.aclose()


async def test_size_leaves_room_for_the_header() -> None:
    (transport,) = await open_nodes(1, datagram_size=1000)
    assert transport.datagram_size_max == 992
    await transport.aclose()


async def test_source_of_multicasts_is_where_unicasts_go(three: list[MulticastUDP]) -> None:
    first, second, third = three
    await second.send([(1, b"token")])
    assert await waiting(first) == [b"token"]
    assert await waiting(third) == []
    assert second.statistics().get("unicasts_to_group", 0) == 0
    assert second.statistics()["peers_known"] == 2


async def test_unicast_to_a_node_not_heard_of_goes_to_the_group() -> None:
    first, second = await open_nodes(1, 2)
    await first.send([(2, b"where are you?")])
    assert await waiting(second) == [b"where are you?"]
    assert first.statistics()["unicasts_to_group"] == 1
    await second.send([(1, b"here")])
    assert await waiting(first) == [b"here"]
    await first.send([(2, b"so there")])
    assert await waiting(second) == [b"so there"]
    assert first.statistics()["unicasts_to_group"] == 1
    await close(first, second)


async def test_own_multicasts_that_come_back_are_dropped_and_counted(three: list[MulticastUDP]) -> None:
    first = three[0]
    before = first.statistics()["own_datagrams_returned"]
    await first.send([(0, b"x")] * 10)
    assert await waiting(first) == []
    assert first.statistics()["own_datagrams_returned"] == before + 10
    assert "own_id_elsewhere" not in first.statistics()


async def test_own_node_id_from_elsewhere_is_let_through_and_counted(
    three: list[MulticastUDP], stranger: socket.socket
) -> None:
    first, second, _ = three
    stranger.sendto(header(1) + b"I am you", group_of(first))
    assert await waiting(first) == [b"I am you"]
    assert first.statistics()["own_id_elsewhere"] == 1
    assert first.statistics()["peers_known"] == 2, "its address is not learned"
    assert await waiting(second) == [b"I am you"], "for the others it is node 1 from a new address"
    assert second.statistics()["addresses_changed"] == 1


async def test_two_processors_with_one_id_hear_of_each_other_and_do_not_raise() -> None:
    (first,) = await open_nodes(1)
    _, port = group_of(first)
    # A second one with this id in the same process is refused, so it goes round that check here.
    membership = GroupMembership(first._membership.group, port, first._membership.interface, 0)
    twin = MulticastUDP(1, membership, Sizes(1344, 1344), 2**16, 2**16, offload=True)
    await twin.send([(0, b"x")])
    assert await waiting(first) == [b"x"]
    assert first.statistics()["own_id_elsewhere"] == 1
    await close(first, twin)


@pytest.mark.parametrize("data", [b"RPM\x02\0\0\0\x07rest", b"RPM\x01\0\0\0\0rest", b"anything at all", bytes(9)])
async def test_datagram_with_a_bad_header_is_counted_and_dropped(
    three: list[MulticastUDP], stranger: socket.socket, data: bytes
) -> None:
    first = three[0]
    for to in (group_of(first), first._own.socket.getsockname()):
        stranger.sendto(data, to)
    assert await waiting(first) == []
    assert first.statistics()["drops_bad_header"] == 2
    assert first.statistics()["peers_known"] == 2


@pytest.mark.parametrize("data", [b"", b"RPM", header(7)])
async def test_datagram_with_nothing_behind_the_header_is_counted_and_dropped(
    three: list[MulticastUDP], stranger: socket.socket, data: bytes
) -> None:
    first = three[0]
    stranger.sendto(data, group_of(first))
    assert await waiting(first) == []
    assert first.statistics()["drops_undersized"] == 1


async def test_restarted_processor_is_found_at_its_new_address(three: list[MulticastUDP]) -> None:
    first, second, _ = three
    group, port = group_of(first)
    await second.aclose()
    again = await open_multicast_udp(2, group, port, interface=LO)
    await first.send([(2, b"to the old address")])
    assert await waiting(again) == []
    await again.send([(0, b"I am back")])
    assert await waiting(first) == [b"I am back"]
    await first.send([(2, b"welcome")])
    assert await waiting(again) == [b"welcome"]
    assert first.statistics()["addresses_changed"] == 1
    assert first.statistics()["peers_known"] == 2
    assert len(first._origins) == 2, "the old address is forgotten"
    await again.aclose()


async def test_addresses_that_are_remembered_are_bounded(stranger: socket.socket) -> None:
    first, second = await open_nodes(1, 2)
    await meet(first, second)
    for start in range(10, 10 + PEERS_MAX + 5, 64):
        for node in range(start, min(start + 64, 10 + PEERS_MAX + 5)):
            stranger.sendto(header(node) + b"x", first._own.socket.getsockname())
        await waiting(first, 0.02)
    assert first.statistics()["peers_known"] == PEERS_MAX
    assert first.statistics()["addresses_forgotten"] == 6, "node 2 and the first five"
    assert len(first._origins) == PEERS_MAX
    # A node that was forgotten is asked for by the group, and learned again.
    await first.send([(2, b"still there?")])
    assert await waiting(second) == [b"still there?"]
    await second.send([(1, b"yes")])
    assert await waiting(first) == [b"yes"]
    await first.send([(2, b"good")])
    assert await waiting(second) == [b"good"]
    assert first.statistics()["unicasts_to_group"] == 1
    await close(first, second)


async def test_data_come_before_the_token_that_was_sent_after_them(three: list[MulticastUDP]) -> None:
    first, second, _ = three
    data = [b"data %d" % number for number in range(10)]
    await first.send([(0, one) for one in data] + [(2, b"token")])
    assert await second.receive() == [*data, b"token"]


async def test_token_waits_for_data_that_are_more_than_a_batch(three: list[MulticastUDP]) -> None:
    first, second, _ = three
    batch = second._group.receiver.count
    data = [b"data %d" % number for number in range(3 * batch)]
    await first.send([(0, one) for one in data] + [(2, b"token")])
    assert await waiting(second) == [*data, b"token"]


async def test_token_that_waits_for_exactly_one_batch_of_data_arrives(three: list[MulticastUDP]) -> None:
    first, second, _ = three
    data = [b"data %d" % number for number in range(second._group.receiver.count)]
    await first.send([(0, one) for one in data] + [(2, b"token")])
    assert await waiting(second) == [*data, b"token"]


async def test_flood_of_data_does_not_hold_the_token_back_for_ever(three: list[MulticastUDP]) -> None:
    first, second, _ = three
    batch = second._group.receiver.count
    count = (HELD_ROUNDS_MAX + 4) * batch
    await first.send([(2, b"token")])
    for start in range(0, count, batch):
        await first.send([(0, b"data %d" % number) for number in range(start, start + batch)])
    got = await waiting(second)
    assert len(got) == count + 1
    assert got.index(b"token") == (HELD_ROUNDS_MAX + 1) * batch


async def test_cancelled_receive_keeps_a_token_that_waits(three: list[MulticastUDP]) -> None:
    first, second, _ = three
    data = [b"data %d" % number for number in range(second._group.receiver.count + 1)]
    await first.send([(0, one) for one in data] + [(2, b"token")])
    got = await second.receive()
    assert b"token" not in got
    with trio.CancelScope() as scope:
        scope.cancel()
        await second.receive()
    assert scope.cancelled_caught
    assert got + await waiting(second) == [*data, b"token"]


async def test_another_group_on_the_same_port_is_not_heard() -> None:
    (first,) = await open_nodes(1)
    _, port = group_of(first)
    other = await open_multicast_udp(2, "239.192.251.251", port, interface=LO)
    await other.send([(0, b"to the other group")])
    assert await waiting(first) == []
    await close(first, other)


async def test_one_processor_cannot_be_open_twice_in_a_process() -> None:
    (first,) = await open_nodes(1)
    group, port = group_of(first)
    with pytest.raises(ValueError, match=f"node 1 is open already on group {group}, port {port}, interface {LO}"):
        await open_multicast_udp(1, group, port, interface="127.0.0.1")
    await first.aclose()
    again = await open_multicast_udp(1, group, port, interface=LO)
    await first.aclose()  # closing the old one again does not free the id of the new one
    with pytest.raises(ValueError, match="open already"):
        await open_multicast_udp(1, group, port, interface=LO)
    await again.aclose()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_transport_dropped_without_closing_frees_its_id() -> None:
    transports = await open_nodes(1)
    group, port = group_of(transports[0])
    transports.clear()
    gc.collect()
    again = await open_multicast_udp(1, group, port, interface=LO)
    await again.aclose()


async def test_port_of_another_program_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
        with pytest.raises(AddressInUseError, match=f"{GROUP}:{port}, the group on {LO}, is taken") as caught:
            await open_multicast_udp(1, GROUP, port, interface=LO)
        assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"node": 0}, "node must be a node id"),
        ({"group": "10.0.0.1"}, "10.0.0.1 is not a multicast group: IPv4 groups are 224.0.0.0 to 239.255.255.255"),
        ({"group": "fd77::1"}, "fd77::1 is not a multicast group: IPv6 groups are ff00::/8"),
        ({"group": "all-hosts"}, "group 'all-hosts' is not an IP address: IPv4 groups are .*, IPv6 groups are"),
        ({"group": 5}, "group must be a multicast address as a string, not 5"),
        ({"group": "ff02::7%eth0"}, "give that as interface= instead"),
        ({"port": 0}, "port must be a whole number from 1 to 65535, not 0"),
        ({"port": "5405"}, "port must be"),
        ({"ttl": 256}, "ttl must be a whole number from 0 to 255"),
        ({"ttl": -1}, "ttl must be"),
        ({"datagram_size": 10}, "datagram_size must be"),
        ({"segment_size": 65_508}, "segment_size must be"),
        ({"receive_buffer": None}, "receive_buffer must be"),
        ({"interface": ""}, "interface must be a name"),
        ({"interface": "::1"}, "interface '::1' is IPv6, and the group is IPv4"),
    ],
)
async def test_misuse_says_what_would_be_right(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"node": 1, "group": GROUP, "port": 5405, "interface": LO, **arguments}
    with pytest.raises(ValueError, match=message):
        await open_multicast_udp(given.pop("node"), given.pop("group"), given.pop("port"), **given)


async def test_interface_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(InterfaceError, match=rf"there is no interface 'eht0': there are .*{LO} \(127.0.0.1"):
        await open_multicast_udp(1, GROUP, 5405, interface="eht0")


def fake_interface(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    real = find_interface("127.0.0.1", 4)
    fake = Interface(**{**{name: getattr(real, name) for name in Interface.__dataclass_fields__}, **changes})
    monkeypatch.setattr("ringproto.transports.membership.find_interface", lambda *_, **__: fake)


async def test_interface_is_looked_up_beside_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    in_time: list[bool] = []

    def slowly(*arguments: Any) -> Interface:
        in_time.append(goes_on.wait(10))
        return usable_interface(*arguments)

    async def open_and_close() -> None:
        await close(*await open_nodes(1))

    monkeypatch.setattr("ringproto.transports.multicast_udp.usable_interface", slowly)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_and_close)
        await trio.testing.wait_all_tasks_blocked()
        goes_on.set()
    assert in_time == [True]


async def test_program_that_uses_up_its_threads_does_not_keep_the_transport_from_opening() -> None:
    threads = trio.to_thread.current_default_thread_limiter()
    for number in range(int(threads.total_tokens)):
        await threads.acquire_on_behalf_of(number)
    with trio.fail_after(10):
        await close(*await open_nodes(1))


async def test_interface_that_is_down_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_interface(monkeypatch, name="eth9", up=False)
    with pytest.raises(InterfaceError, match="interface 'eth9' is down"):
        await open_multicast_udp(1, GROUP, 5405, interface="eth9")


async def test_interface_without_multicast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_interface(monkeypatch, name="tun9", loopback=False, multicast=False)
    with pytest.raises(InterfaceError, match="interface 'tun9' does not carry IPv4 multicast: choose from"):
        await open_multicast_udp(1, GROUP, 5405, interface="tun9")


async def test_loopback_is_refused_for_ipv6_groups() -> None:
    try:
        find_interface(LO, 6)
    except InterfaceError:
        message = "has no IPv6 address"
    else:
        message = "the loopback interface carries it for IPv4 groups only"
    with pytest.raises(InterfaceError, match=message):
        await open_multicast_udp(1, "ff15::7:1", 5405, interface=LO)


async def test_group_that_cannot_be_joined_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    real = GroupMembership.join

    def fail(self: GroupMembership) -> None:
        made.extend([self.group_socket, self.own_socket])
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(GroupMembership, "join", fail)
    (port,) = free_ports(1)
    with pytest.raises(TransportError, match=f"group {GROUP} cannot be joined on interface {LO}: No such device"):
        await open_multicast_udp(1, GROUP, port, interface=LO)
    assert [sock.fileno() for sock in made] == [-1, -1]
    monkeypatch.setattr(GroupMembership, "join", real)
    transport = await open_multicast_udp(1, GROUP, port, interface=LO)
    await transport.aclose()


async def test_ttl_is_set_and_always_0_on_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    (transport,) = await open_nodes(1, ttl=5)
    own = transport._own.socket
    assert own.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 0
    assert own.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1
    await transport.aclose()
    fake_interface(monkeypatch, loopback=False)
    (transport,) = await open_nodes(1, ttl=5)
    assert transport._own.socket.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 5
    await transport.aclose()


class FailingSender:
    """Sends, or fails with an error number while there is one."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.error = 0

    def send(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], start: int) -> int:
        if self.error:
            return -self.error
        sent: int = self.real.send(addresses, heads, datagrams, start)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def test_group_is_joined_again_when_the_interface_came_back(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    (transport,) = await open_nodes(1)
    joins = 0
    real = transport._membership.join

    def join() -> None:
        nonlocal joins
        joins += 1
        if joins <= 3:
            raise OSError(errno.ENODEV, "No such device")
        real()

    monkeypatch.setattr(transport._membership, "join", join)
    sender = FailingSender(transport._own.sender)
    transport._own.sender = sender  # type: ignore[assignment]
    await transport.send([(0, b"good weather")])
    assert joins == 0
    sender.error = errno.ENETUNREACH
    for _ in range(100):
        await transport.send([(0, b"lost")])
        await trio.sleep(0.025)
    assert joins == 3, "not more than once a second"
    sender.error = 0
    for _ in range(100):
        await transport.send([(0, b"good weather again")])
        await trio.sleep(0.025)
    assert joins == 4, "and not again once it has worked"
    statistics = transport.statistics()
    assert (statistics["rejoins_failed"], statistics["rejoins"]) == (3, 1)
    assert statistics["send_errors_ENETUNREACH"] == 100
    await transport.aclose()


async def test_full_buffers_are_no_reason_to_join_again(monkeypatch: pytest.MonkeyPatch) -> None:
    (transport,) = await open_nodes(1)
    sender = FailingSender(transport._own.sender)
    transport._own.sender = sender  # type: ignore[assignment]
    sender.error = errno.ENOBUFS
    await transport.send([(0, b"lost")])
    sender.error = 0
    await transport.send([(0, b"x")])
    assert "rejoins" not in transport.statistics()
    assert "rejoins_failed" not in transport.statistics()
    await transport.aclose()


async def test_name_address_and_network_mean_one_interface(three: list[MulticastUDP]) -> None:
    first = three[0]
    group, port = group_of(first)
    fourth = await open_multicast_udp(4, group, port, interface="127.0.0.1")
    fifth = await open_multicast_udp(5, group, port, interface="127.0.0.0/8")
    await first.send([(0, b"x")])
    assert await waiting(fourth) == await waiting(fifth) == [b"x"]
    await close(fourth, fifth)
    assert interfaces.find_interface("127.0.0.0/8", 4).name == LO
