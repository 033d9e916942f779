"""Which interface a person meant, and what is said when there is none."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from typing import Any

import netifaces
import pytest

from ringproto.transports import InterfaceError, TransportError, interfaces
from ringproto.transports._detection import Detection
from ringproto.transports.interfaces import describe_interfaces, find_interface, former_interface

IPV4, IPV6 = int(netifaces.AF_INET), int(netifaces.AF_INET6)

# As netifaces gives them: the netmask of IPv6 with its odd tail, scopes as suffixes.
TABLE: dict[str, dict[int, list[dict[str, str]]]] = {
    "lo": {
        IPV4: [{"addr": "127.0.0.1", "netmask": "255.0.0.0", "peer": "127.0.0.1"}],
        IPV6: [{"addr": "::1", "netmask": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"}],
    },
    "eth0": {
        IPV4: [
            {"addr": "10.77.0.5", "netmask": "255.255.255.0", "broadcast": "10.77.0.255"},
            {"addr": "10.78.0.5", "netmask": "255.255.255.0", "broadcast": "10.78.0.255"},
        ],
        IPV6: [
            {"addr": "fe80::5%eth0", "netmask": "ffff:ffff:ffff:ffff::/64"},
            {"addr": "fd77::5", "netmask": "ffff:ffff:ffff:ffff::/64"},
        ],
    },
    "eth1": {
        IPV4: [{"addr": "10.79.0.5", "netmask": "255.255.255.0", "broadcast": "10.79.0.255"}],
        IPV6: [{"addr": "fe80::5%eth1", "netmask": "ffff:ffff:ffff:ffff::/64"}],
    },
    "tun0": {IPV4: [{"addr": "10.80.0.5", "peer": "10.80.0.6"}]},
    "bare": {},
}
FLAGS = {"lo": 0x49, "eth0": 0x1043, "eth1": 0x1002, "tun0": 0x91, "bare": 0x1043}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host with these interfaces."""
    monkeypatch.setattr(netifaces, "interfaces", lambda: list(TABLE))
    monkeypatch.setattr(netifaces, "ifaddresses", lambda name: TABLE[name])
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: list(TABLE).index(name) + 1)
    monkeypatch.setattr(interfaces, "_flags_and_mtu", lambda device: (FLAGS[device], 1500))
    yield


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("wanted", "version", "name", "address"),
    [
        ("eth0", 4, "eth0", "10.77.0.5"),
        ("eth0", 6, "eth0", "fd77::5"),
        ("eth1", 6, "eth1", "fe80::5"),
        ("10.78.0.5", 4, "eth0", "10.78.0.5"),
        ("10.77.0.0/24", 4, "eth0", "10.77.0.5"),
        ("10.78.0.0/24", 4, "eth0", "10.78.0.5"),
        ("10.77.0.200/24", 4, "eth0", "10.77.0.5"),
        ("fd77::/64", 6, "eth0", "fd77::5"),
        ("fd77::5", 6, "eth0", "fd77::5"),
        ("fe80::5%eth1", 6, "eth1", "fe80::5"),
        ("fe80::5%3", 6, "eth1", "fe80::5"),
        ("127.0.0.0/8", 4, "lo", "127.0.0.1"),
        ("lo", 4, "lo", "127.0.0.1"),
    ],
)
def test_interface_is_found_by_name_address_or_network(wanted: str, version: int, name: str, address: str) -> None:
    found = find_interface(wanted, version)
    assert (found.name, found.address) == (name, ipaddress.ip_address(address))
    assert found.index == list(TABLE).index(name) + 1


@pytest.mark.usefixtures("table")
def test_link_local_address_is_taken_for_groups_of_the_link() -> None:
    assert find_interface("eth0", 6, link_local=True).address == ipaddress.ip_address("fe80::5")
    assert find_interface("eth0", 6).address == ipaddress.ip_address("fd77::5")


@pytest.mark.usefixtures("table")
def test_flags_are_told() -> None:
    lo, eth0, eth1, tun0 = (find_interface(name, 4) for name in ("lo", "eth0", "eth1", "tun0"))
    assert (lo.up, lo.loopback, lo.multicast) == (True, True, True), "the loopback does carry IPv4 multicast"
    assert not find_interface("lo", 6).multicast
    assert (eth0.up, eth0.loopback, eth0.multicast, eth0.mtu) == (True, False, True, 1500)
    assert (eth1.up, eth1.multicast) == (False, True)
    assert not tun0.multicast


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("wanted", "version", "message"),
    [
        ("eht0", 4, r"there is no interface 'eht0': there are bare \(no address\), eth0 \(10.77.0.5 10.78.0.5 fe80::5"),
        ("10.77.0.9", 4, r"no interface has an address in 10.77.0.9: there are bare"),
        ("10.99.0.0/24", 4, r"no interface has an address in 10.99.0.0/24: there are bare"),
        ("tun0", 6, r"interface 'tun0' has no IPv6 address \(it has 10.80.0.5\)"),
        ("bare", 4, r"interface 'bare' has no IPv4 address \(it has no address at all\)"),
        ("fe80::5", 6, r"fe80::5 means several interfaces, eth0 and eth1: give the name of one"),
        ("10.76.0.0/14", 4, r"10.76.0.0/14 means several interfaces, eth0 and eth1"),
        ("fe80::5%eth7", 6, r"no interface has an address in fe80::5%eth7"),
    ],
)
def test_interface_that_is_not_there_is_said_with_those_that_are(wanted: str, version: int, message: str) -> None:
    with pytest.raises(InterfaceError, match=message):
        find_interface(wanted, version)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("wanted", "version", "message"),
    [
        ("10.77.0.5", 6, "interface '10.77.0.5' is IPv4, and the group is IPv6"),
        ("fd77::/64", 4, "interface 'fd77::/64' is IPv6, and the group is IPv4"),
        ("", 4, "interface must be a name"),
        (None, 4, "interface must be a name"),
        (0, 4, "interface must be a name"),
    ],
)
def test_misuse_is_a_value_error(wanted: Any, version: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_interface(wanted, version)


def test_interface_that_goes_away_meanwhile_is_an_interface_error(table: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> int:
        raise OSError(19, "No such device")

    monkeypatch.setattr(socket, "if_nametoindex", gone)
    with pytest.raises(InterfaceError, match="interface 'eth0' has gone away"):
        find_interface("eth0", 4)


def test_interface_error_is_a_transport_error() -> None:
    assert issubclass(InterfaceError, TransportError)


def test_loopback_of_this_host_is_found() -> None:
    found = find_interface("127.0.0.1", 4)
    assert found.address == ipaddress.ip_address("127.0.0.1")
    assert found.index == socket.if_nametoindex(found.name)
    assert found.loopback and found.multicast
    assert f"{found.name} (127.0.0.1" in describe_interfaces()
    if sys.platform == "linux":
        assert found.up
        assert found.mtu is not None and found.mtu >= 1280


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("error", [ValueError("You must specify a valid interface."), OSError(19, "No such device")])
def test_interface_that_goes_away_while_it_is_read_is_left_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def addresses(name: str) -> dict[int, list[dict[str, str]]]:
        if name == "eth1":
            raise error
        return TABLE[name]

    monkeypatch.setattr(netifaces, "ifaddresses", addresses)
    assert find_interface("10.77.0.0/24", 4).name == "eth0"
    assert "eth1" not in describe_interfaces()
    with pytest.raises(InterfaceError, match="there is no interface 'eth1'"):
        find_interface("eth1", 4)


def test_interfaces_that_the_system_does_not_list_are_an_interface_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[str]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(netifaces, "interfaces", fail)
    with pytest.raises(InterfaceError, match="does not list its interfaces: Too many open files"):
        find_interface("eth0", 4)


@pytest.mark.usefixtures("table")
def test_what_was_found_before_is_preferred_while_it_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE["eth0"], IPV4, TABLE["eth0"][IPV4] + [{"addr": "10.77.0.9"}])
    former = find_interface("10.77.0.9", 4)
    assert find_interface("10.77.0.0/24", 4, former=former).address == former.address
    assert find_interface("eth0", 4, former=former).address == former.address
    assert str(find_interface("10.77.0.0/24", 4).address) == "10.77.0.5"
    assert str(find_interface("10.78.0.0/24", 4, former=former).address) == "10.78.0.5"


@pytest.fixture
def questions(table: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A host with many more interfaces; the interfaces of whose addresses the system was asked. It tells of all each
    time, so the price is the square of their number when each is asked about."""
    asked: list[str] = []
    more = {f"veth{number:03}": {IPV4: [{"addr": f"10.99.{number}.1"}]} for number in range(200)}

    def addresses(name: str) -> dict[int, list[dict[str, str]]]:
        asked.append(name)
        return (TABLE | more)[name]

    monkeypatch.setattr(netifaces, "interfaces", lambda: [*TABLE, *more])
    monkeypatch.setattr(netifaces, "ifaddresses", addresses)
    return asked


@pytest.mark.parametrize("wanted", ["eth0", "10.77.0.5", "10.77.0.0/24"])
def test_system_is_asked_once_about_what_was_found_before(questions: list[str], wanted: str) -> None:
    former = find_interface(wanted, 4)
    questions.clear()
    assert find_interface(wanted, 4, former=former) == former_interface(wanted, former) == former
    assert questions == ["eth0", "eth0"]


def test_system_is_asked_once_about_a_name(questions: list[str]) -> None:
    assert find_interface("eth0", 4).name == "eth0"
    assert questions == ["eth0"]


def test_what_was_found_before_is_not_meant_any_more(questions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    former = find_interface("eth0", 4)
    for wanted in ("eth1", "10.99.0.0/16", "10.77.0.5%eth1"):
        assert former_interface(wanted, former) is None
    monkeypatch.setitem(TABLE, "eth0", {})
    assert former_interface("eth0", former) is None


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("wanted", ["eth1", "0.0.0.0/0%eth1"])
def test_link_local_ipv4_address_is_a_stopgap(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stopgap, lasting = {"addr": "169.254.5.5"}, {"addr": "10.79.0.5"}
    monkeypatch.setitem(TABLE["eth1"], IPV4, [stopgap])
    former = find_interface(wanted, 4)
    assert str(former.address) == "169.254.5.5"
    assert former_interface(wanted, former) == former, "better than none"
    monkeypatch.setitem(TABLE["eth1"], IPV4, [stopgap, lasting])
    assert former_interface(wanted, former) is None
    assert str(find_interface(wanted, 4, former=former).address) == "10.79.0.5"
    assert str(find_interface(wanted, 4).address) == "10.79.0.5"
    for asked_for in ("169.254.5.5", "169.254.0.0/16"):
        assert former_interface(asked_for, former) == find_interface(asked_for, 4, former=former) == former


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("wanted", ["eth0", "::/0%eth0"])
@pytest.mark.parametrize("on_link", [False, True])
def test_ipv6_address_that_suits_the_group_less_is_a_stopgap(
    wanted: str, on_link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting, stopgap = {"addr": "fd77::5"}, {"addr": "fe80::5%eth0"}
    if on_link:
        lasting, stopgap = stopgap, lasting
    state = Detection.UNDER_WAY
    monkeypatch.setattr(
        interfaces, "detection_of", lambda one, index: state if str(one) in lasting["addr"] else Detection.OVER
    )
    monkeypatch.setitem(TABLE["eth0"], IPV6, [stopgap])
    former = find_interface(wanted, 6, link_local=on_link)
    assert former_interface(wanted, former, link_local=on_link) == former, "better than none"
    for both in ([stopgap, lasting], [lasting, stopgap]):
        monkeypatch.setitem(TABLE["eth0"], IPV6, both)
        state = Detection.FAILED
        assert former_interface(wanted, former, link_local=on_link) == former, "the other one may not be used"
        assert find_interface(wanted, 6, link_local=on_link) == former
        state = Detection.OVER
        assert former_interface(wanted, former, link_local=on_link) is None
        assert str(find_interface(wanted, 6, link_local=on_link, former=former).address) in lasting["addr"]
    exactly = str(former.address)
    assert former_interface(exactly, former, link_local=on_link) == former


@pytest.mark.parametrize("wanted", ["eht0", "10.1.0.0/16", "10.99.0.0/16"])
def test_text_names_so_many_interfaces_and_asks_about_each_once(questions: list[str], wanted: str) -> None:
    with pytest.raises(InterfaceError, match=r" and \d+ more") as raised:
        find_interface(wanted, 4)
    assert len(str(raised.value)) < 1000
    assert len(questions) == len(set(questions))


def test_interface_without_a_socket_to_ask_with_is_described_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("ringproto.transports.interfaces.socket.socket", fail)
    assert find_interface("127.0.0.1", 4).loopback
