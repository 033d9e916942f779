"""A group that is not heard any more is joined again, and one that is silent for good reason is not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import namespaces
import pytest
import trio
from namespaces import hosts_on_a_bridge, peer_in
from transport_openers import GROUP, free_ports

from ringproto.transports import open_multicast_udp
from ringproto.transports._reverse_path import FilterWatch, explain_filter, filter_drops
from ringproto.transports._segments import NOTICE_ASK, notice
from ringproto.transports._silence import Hearing, Silence
from ringproto.transports.interfaces import find_interface
from ringproto.transports.multicast_udp import ANSWER_EVERY_S, MulticastUDP

LO = find_interface("127.0.0.1", 4).name
on_hosts = pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))


def looks(silence: Silence, times: Iterator[float], multicasts: int = 0, unicasts: int = 0) -> list[Hearing]:
    return [silence.judge(now, multicasts, unicasts) for now in times]


def tenths(first: float, last: float) -> Iterator[float]:
    for number in range(round((last - first) * 10) + 1):
        yield first + number / 10


def test_silence_is_for_joining_again_each_time_it_has_lasted() -> None:
    silence = Silence(5.0)
    assert silence.judge(0.0, 7, 0) is Hearing.WELL
    got = looks(silence, tenths(0.1, 15.2), multicasts=7)
    assert got.count(Hearing.JOIN) == 3 and got.index(Hearing.JOIN) in (49, 50)
    assert Hearing.ASK not in got, "nobody is there to be asked"
    assert silence.judge(15.3, 8, 0) is Hearing.AGAIN
    assert silence.judge(15.4, 9, 0) is Hearing.WELL


def test_who_hears_unicasts_asks_before_it_joins_again() -> None:
    silence = Silence(5.0)
    silence.judge(0.0, 7, 0)
    got = [silence.judge(now, 7, number) for number, now in enumerate(tenths(0.1, 5.1), 1)]
    assert got.count(Hearing.ASK) == 4 and got.count(Hearing.JOIN) == 1
    assert got.index(Hearing.ASK) in (24, 25)


def test_an_answer_ends_the_silence() -> None:
    silence = Silence(5.0)
    silence.judge(0.0, 7, 0)
    heard, got = 7, []
    for number, now in enumerate(tenths(0.1, 60.0), 1):
        got.append(silence.judge(now, heard, number))
        heard += got[-1] is Hearing.ASK
    assert Hearing.JOIN not in got
    assert 15 <= got.count(Hearing.ASK) <= 24


def test_time_in_which_nobody_looked_is_no_silence() -> None:
    silence = Silence(5.0)
    silence.judge(0.0, 7, 0)
    assert silence.judge(3600.0, 7, 0) is Hearing.QUIET, "this process stood still"
    assert silence.quiet_s == 1.25


def test_silence_is_said_to_begin_once() -> None:
    silence = Silence(5.0)
    silence.judge(0.0, 7, 0)
    for multicasts, since in ((7, 0.0), (8, 20.0)):
        silence.judge(since, multicasts, 0)
        got = looks(silence, tenths(since + 0.1, since + 15.2), multicasts)
        assert got.count(Hearing.QUIET) == 1 and got.index(Hearing.QUIET) in (11, 12)
        assert got.count(Hearing.JOIN) == 3


async def both(silence_s: float) -> tuple[MulticastUDP, MulticastUDP]:
    (port,) = free_ports(1)
    first = await open_multicast_udp(1, GROUP, port, interface=LO, silence_s=silence_s)
    second = await open_multicast_udp(2, GROUP, port, interface=LO, silence_s=silence_s)
    for sender, receiver in ((first, second), (second, first)):
        await sender.send([(0, b"hello")])
        assert await receiver.receive() == [b"hello"]
    return first, second


async def test_idle_processor_that_hears_unicasts_alone_is_answered_and_joins_nothing() -> None:
    first, second = await both(0.8)
    for _ in range(100):
        await second.send([(1, b"token")])
        assert await first.receive() == [b"token"]
        await first.send([(2, b"token")])
        assert await second.receive() == [b"token"]
        await trio.sleep(0.02)
        with trio.move_on_after(0.001):  # an answer is no datagram of the ring
            assert await first.receive() == []
    assert "rejoins" not in first.statistics()
    assert "rejoins" not in second.statistics()
    assert first.statistics()["notices_sent"] >= 1
    assert first.statistics()["notices_received"] >= 1
    assert first.statistics()["datagrams_received"] == second.statistics()["datagrams_received"] == 101
    for transport in (first, second):
        await transport.aclose()


async def test_answers_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    first, second = await both(5.0)
    before = first.statistics().get("notices_sent", 0)
    for _ in range(40):
        second._tell(second._addresses[1], notice(NOTICE_ASK))
        with trio.move_on_after(ANSWER_EVERY_S / 10):
            await first.receive()
    assert first.statistics()["notices_sent"] - before == 4
    for transport in (first, second):
        await transport.aclose()


async def test_group_that_is_silent_is_joined_again_and_that_is_logged_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await both(5.0)
    await second.aclose()
    with caplog.at_level(logging.INFO, "ringproto.transports"):
        for _ in range(220):
            await first.send([(0, b"is anybody here?")])
            await trio.sleep(0.1)
    assert first.statistics()["rejoins"] == 4
    (line,) = caplog.messages
    assert "was joined again: nothing multicast was heard for 5." in line and "and no unicast either" in line
    await first.aclose()


async def test_who_was_always_alone_joins_again_and_says_nothing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = free_ports(1)
    transport = await open_multicast_udp(1, GROUP, port, interface=LO)
    for _ in range(120):
        await transport.send([(0, b"is anybody here?")])
        await trio.sleep(0.1)
    assert transport.statistics()["rejoins"] == 2
    assert caplog.messages == []
    await transport.aclose()


@pytest.mark.parametrize("value", [0, -1.0, "5", float("nan"), float("inf"), True])
async def test_silence_that_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"silence_s must be seconds, from 0\.001 to 86400"):
        await open_multicast_udp(1, GROUP, 5405, interface=LO, silence_s=value)


@on_hosts
async def test_switch_that_forgets_who_listens_learns_it_again() -> None:
    """A bridge that forwards to those who reported in the last two seconds, and asks nobody."""
    with hosts_on_a_bridge(2) as hosts:
        hosts.snoop(membership_s=2)
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            peers = [first, second]
            arguments = {"group": "239.192.7.1", "interface": "eth0", "port": 5405, "silence_s": 1.0}
            for node, peer in enumerate(peers, 1):
                await peer.call("open_multicast", node=node, **arguments)
            heard = dict.fromkeys((1, 2), 0)
            silent = False
            for number in range(600):
                for node, peer in enumerate(peers, 1):
                    # Unicasts go on once they know each other.
                    await peer.send((0, f"multicast {number}"), (3 - node, "unicast"))
                got = [await peer.receive(2, patience_s=0.02) for peer in peers]
                await trio.sleep(0.02)  # the bridge forgets in seconds, however fast this is
                for node, texts in enumerate(got, 1):
                    heard[node] += any(text.startswith("multicast") for text in texts)
                silent = silent or (min(heard.values()) > 0 and got == [["unicast"], ["unicast"]])
                numbers = [await peer.statistics() for peer in peers]
                if silent and all(one.get("rejoins", 0) for one in numbers):
                    break
            assert silent, "the bridge forgot"
            before = dict(heard)
            for number in range(600):
                for peer in peers:
                    await peer.send((0, f"multicast {number}"))
                for node, peer in enumerate(peers, 1):
                    texts = await peer.receive(1, patience_s=0.02)
                    heard[node] += any(text.startswith("multicast") for text in texts)
                if all(heard[node] > before[node] for node in heard):
                    break
            else:
                raise AssertionError(f"it was not learned again: {before} {heard} {numbers}")
            logged = [await peer.logged() for peer in peers]
            why = "while unicasts came: a switch may have forgotten"
            assert all(any(why in one for one in each) for each in logged)


# The reverse path filter


def settings(folder: Path, **values: int) -> Path:
    for name, value in values.items():
        (folder / name).mkdir()
        (folder / name / "rp_filter").write_text(f"{value}\n")
    return folder


@pytest.mark.parametrize(
    ("of_all", "of_eth0", "strict"), [(0, 0, False), (1, 0, True), (0, 1, True), (2, 1, False), (1, 2, False)]
)
def test_strict_filter_is_named_with_what_it_dropped(tmp_path: Path, of_all: int, of_eth0: int, strict: bool) -> None:
    text = explain_filter("eth0", 7, settings(tmp_path, all=of_all, eth0=of_eth0))
    assert (text is not None) == strict
    assert text is None or ("net.ipv4.conf.eth0.rp_filter" in text and "are dropped, and 7 were" in text)


def test_setting_of_an_interface_with_a_dot_in_its_name_is_written_as_sysctl_takes_it(tmp_path: Path) -> None:
    text = explain_filter("eth0.100", 7, settings(tmp_path, **{"all": 0, "eth0.100": 1}))
    assert text is not None and "filter of eth0.100 is strict (net.ipv4.conf.eth0/100.rp_filter or" in text


def test_strict_filter_that_dropped_nothing_is_no_cause(tmp_path: Path) -> None:
    folder = settings(tmp_path, all=1, eth0=1)
    assert explain_filter("eth0", 0, folder) is None
    assert explain_filter(None, 0, folder) is None


def test_interfaces_whose_filter_is_strict_are_named_where_any_may_be_meant(tmp_path: Path) -> None:
    folder = settings(tmp_path, all=0, default=1, eth0=2, eth1=1, eth2=1)
    text = explain_filter(None, 3, folder)
    assert text is not None and "filter of eth1 and eth2 is strict (net.ipv4.conf.eth1.rp_filter" in text


def test_filter_is_told_once_until_it_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = 10
    monkeypatch.setattr("ringproto.transports._reverse_path.filter_drops", lambda: dropped)
    monkeypatch.setattr(
        "ringproto.transports._reverse_path.explain_filter", lambda name, count: f"{count}" if count else None
    )
    watch = FilterWatch()
    assert watch.explain("eth0") is None, "what was dropped before is no cause"
    dropped = 15
    assert [watch.explain("eth0"), watch.explain("eth0")] == ["5", None]
    watch.begin()
    assert watch.explain("eth0") is None
    dropped = 16
    assert watch.explain("eth0") == "1"


@pytest.mark.parametrize("later", [False, True], ids=["at the opening", "later"])
def test_what_was_dropped_before_it_could_be_told_is_no_cause(monkeypatch: pytest.MonkeyPatch, later: bool) -> None:
    netstat: list[int | None] = [None]
    monkeypatch.setattr("ringproto.transports._reverse_path.filter_drops", lambda: netstat[0])
    monkeypatch.setattr(
        "ringproto.transports._reverse_path.explain_filter", lambda name, count: f"{count}" if count else None
    )
    watch = FilterWatch()  # as while there are no more files
    if later:
        netstat[0] = 9
        watch.begin()
        netstat[0] = None
        watch.begin()
    assert watch.explain("eth0") is None
    netstat[0] = 10
    assert watch.explain("eth0") is None, "since the host was started"
    netstat[0] = 12
    assert watch.explain("eth0") == "2"


async def test_what_the_filter_dropped_while_all_was_well_is_no_cause(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dropped = [10]
    monkeypatch.setattr("ringproto.transports._reverse_path.filter_drops", lambda: dropped[0])
    monkeypatch.setattr(
        "ringproto.transports._reverse_path.explain_filter", lambda name, count: f"{count} were" if count else None
    )
    first, second = await both(5.0)
    for _ in range(30):
        await second.send([(0, b"well")])
        assert await first.receive() == [b"well"]
        await first.send([(0, b"well")])
        await trio.sleep(0.1)
        dropped[0] = 17
    await second.aclose()  # it leaves
    for _ in range(70):
        await first.send([(0, b"is anybody here?")])
        await trio.sleep(0.1)
    assert first.statistics()["rejoins"] == 1
    assert "17 were" not in caplog.text and "7 were" not in caplog.text
    dropped[0] = 20
    for _ in range(50):
        await first.send([(0, b"is anybody here?")])
        await trio.sleep(0.1)
    assert "nothing was heard from anybody" in caplog.text and "and 3 were" in caplog.text
    await first.aclose()


def test_filter_that_the_system_does_not_tell_of_is_no_cause(tmp_path: Path) -> None:
    assert explain_filter("eth0", 7, tmp_path) is None
    assert filter_drops(tmp_path / "netstat") is None
    (tmp_path / "netstat").write_text("TcpExt: A IPReversePathFilter B\nTcpExt: 1 23 4\nIpExt: C\nIpExt: 5\n")
    assert filter_drops(tmp_path / "netstat") == 23


@on_hosts
async def test_strict_filter_that_drops_everything_is_said() -> None:
    with hosts_on_a_bridge(2) as hosts:
        # The way back to host 2 is by another interface, which leads nowhere.
        hosts.ip(1, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
        hosts.ip(1, "link", "set", "d1", "up")
        hosts.ip(1, "link", "set", "d0", "up")
        hosts.ip(1, "route", "add", "10.77.0.2/32", "dev", "d0")
        hosts.sysctl(1, ipv4__conf__all__rp_filter=1)
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            for node, peer in enumerate((first, second), 1):
                await peer.call(
                    "open_multicast", node=node, port=5405, group="239.192.7.1", interface="eth0", silence_s=0.5
                )
            for _ in range(200):
                await second.send((0, "hello"))
                await first.send((0, "hello"))
                assert await first.receive(1, patience_s=0.02) == []
                if await first.logged():
                    break
            (line,) = await first.logged()
            assert "nothing was heard from anybody" in line
            assert "the reverse path filter of eth0 is strict" in line
            assert "were since it was looked at last" in line


@on_hosts
async def test_strict_filter_that_drops_everything_is_said_by_unicast_too() -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.ip(1, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
        hosts.ip(1, "link", "set", "d1", "up")
        hosts.ip(1, "link", "set", "d0", "up")
        hosts.ip(1, "route", "add", "10.77.0.2/32", "dev", "d0")
        # The filter stands in the way of ARP too, and such packets are not counted.
        hosts.ip(1, "link", "set", "eth0", "address", "02:00:00:00:00:01")
        hosts.ip(2, "neigh", "replace", "10.77.0.1", "lladdr", "02:00:00:00:00:01", "dev", "eth0")
        hosts.sysctl(1, ipv4__conf__all__rp_filter=1)
        async with peer_in(hosts[1]) as first, peer_in(hosts[2]) as second:
            table = {"1": ("10.77.0.1", 5001), "2": ("10.77.0.2", 5001)}
            for node, peer in enumerate((first, second), 1):
                await peer.call("open_unicast", node=node, peers=table)
            for _ in range(200):
                await second.send((0, "hello"))
                await first.send((0, "hello"))
                assert await first.receive(1, patience_s=0.1) == []
                if any("the reverse path filter of" in line for line in await first.logged()):
                    break
            else:
                raise AssertionError(await first.logged())
