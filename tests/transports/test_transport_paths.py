"""How large segments are for each address, by what the system and the others say."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any, cast

import pytest

from ringproto.log import BoundedLog
from ringproto.transports._addresses import pack_address
from ringproto.transports._paths import LOOK_COUNT, MTU_MIN, SEGMENT_MIN, TOLD_FOR_S, TOLD_MAX, Paths

A, B, C = (pack_address((f"10.0.0.{number}", 5001)) for number in (1, 2, 3))
SIX = pack_address(("fd77::1", 5001, 0, 0))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the MTU of a path")


class Probe:
    """A socket that knows MTUs by host; what it does not know has no route."""

    def __init__(self) -> None:
        self.mtus: dict[str, int] = {}
        self.asked: list[str] = []

    def open(self) -> socket.socket:
        return cast(socket.socket, self)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connect(self, address: Any) -> None:
        self.asked.append(address[0])
        if address[0] not in self.mtus:
            raise OSError(101, "Network is unreachable")

    def getsockopt(self, level: int, option: int) -> int:
        return self.mtus[self.asked[-1]]


@pytest.fixture
def probe() -> Probe:
    return Probe()


def paths_of(probe: Probe, **changes: Any) -> Paths:
    arguments: dict[str, Any] = {"segment": 1352, "datagram": 10_752, "header": 0, **changes}
    return Paths(open_probe=probe.open, log=BoundedLog("ringproto.transports", spacing_s=0.0), **arguments)


def test_segments_fit_into_the_packets_of_each_path(probe: Probe) -> None:
    paths = paths_of(probe)
    probe.mtus = {"10.0.0.1": 1500, "10.0.0.2": 1280, "fd77::1": 1280}
    paths.look([A, B, C, SIX])
    assert [paths.size(one) for one in (A, B, C, SIX)] == [1352, 1252, 1352, 1232]
    assert set(paths.measured) == {B, SIX}
    assert paths_of(probe, header=8, segment=1344).size(B) == 1344, "not before it was looked at"


def test_header_of_the_transport_is_within_the_packet(probe: Probe) -> None:
    paths = paths_of(probe, header=8, segment=1344)
    probe.mtus = {"10.0.0.1": 1380, "10.0.0.2": 1379}
    paths.look([A, B])
    assert (paths.size(A), paths.size(B)) == (1344, 1343)


def test_path_that_takes_more_or_that_nobody_needs_is_forgotten(probe: Probe) -> None:
    paths = paths_of(probe)
    probe.mtus = {"10.0.0.1": 1280, "10.0.0.2": 1280}
    paths.look([A, B])
    probe.mtus = {"10.0.0.1": 1500}
    paths.look([A])
    assert (paths.size(A), paths.size(B)) == (1352, 1352)


def test_path_without_a_route_for_a_moment_stays_as_it_was(probe: Probe) -> None:
    paths = paths_of(probe)
    probe.mtus = {"10.0.0.1": 1280}
    paths.look([A])
    probe.mtus = {}
    paths.look([A])
    assert paths.size(A) == 1252


def test_addresses_are_looked_at_in_turns(probe: Probe) -> None:
    paths = paths_of(probe)
    many = [pack_address((f"10.1.{number // 200}.{number % 200}", 5001)) for number in range(2 * LOOK_COUNT + 1)]
    for _ in range(3):
        paths.look(many)
    assert len(probe.asked) == 3 * LOOK_COUNT
    assert len(set(probe.asked)) == len(many)


def test_what_others_say_counts_for_a_while(probe: Probe) -> None:
    paths = paths_of(probe)
    paths.hear(A, 1280, 100.0)
    assert (paths.size(A), paths.size(B)) == (1252, 1352)
    paths.forget(100.0 + TOLD_FOR_S - 0.1)
    assert paths.size(A) == 1252
    paths.forget(100.0 + TOLD_FOR_S)
    assert paths.size(A) == 1352


def test_the_smaller_of_both_counts(probe: Probe) -> None:
    paths = paths_of(probe)
    probe.mtus = {"10.0.0.1": 1280}
    paths.look([A])
    paths.hear(A, 1300, 0.0)
    assert paths.size(A) == 1252
    paths.hear(A, 1000, 0.0)
    assert paths.size(A) == 972


def test_group_goes_with_whoever_needs_the_smallest(probe: Probe) -> None:
    paths = paths_of(probe, group=C)
    paths.hear(A, 1280, 0.0)
    paths.hear(B, 1000, 5.0)
    assert paths.size(C) == 972
    paths.hear(A, 1280, 15.0)
    paths.forget(5.0 + TOLD_FOR_S)
    assert paths.size(C) == 1252


@pytest.mark.parametrize("mtu", [0, MTU_MIN - 1, 1380, 65_535])
def test_what_others_say_and_nobody_needs_changes_nothing(probe: Probe, mtu: int) -> None:
    paths = paths_of(probe)
    paths.hear(A, mtu, 0.0)
    assert paths.size(A) == 1352


def test_segments_have_a_least_size_and_a_greatest_number(probe: Probe) -> None:
    paths = paths_of(probe)
    paths.hear(A, MTU_MIN, 0.0)
    assert paths.size(A) == SEGMENT_MIN
    large = paths_of(probe, datagram=65_507)
    large.hear(A, MTU_MIN, 0.0)
    assert -(-65_507 // (large.size(A) - 8)) <= 255


def test_what_is_remembered_is_bounded(probe: Probe) -> None:
    paths = paths_of(probe)
    for number in range(TOLD_MAX + 10):
        paths.hear(pack_address((f"10.1.{number // 200}.{number % 200}", 5001)), 1280, 0.0)
    assert len(paths._told) == TOLD_MAX


def test_each_news_is_logged_once(probe: Probe, caplog: pytest.LogCaptureFixture) -> None:
    paths = paths_of(probe)
    probe.mtus = {"10.0.0.1": 1280, "10.0.0.2": 1280, "10.0.0.3": 1500}
    with caplog.at_level(logging.INFO, "ringproto.transports"):
        for _ in range(3):
            paths.look([A, B, C])
        (line,) = caplog.messages
        assert line.startswith("packets to 10.0.0.1:5001 and 1 more may have 1280 bytes")
        assert "datagrams of 1252 bytes in place of 1352" in line
        probe.mtus["10.0.0.1"] = 1500
        paths.look([A, B, C])
        assert caplog.messages[1:] == ["packets to 10.0.0.1:5001 may have the usual size again"]


def test_path_that_is_as_usual_again_is_told_though_another_one_is_not(
    probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    paths = paths_of(probe)
    probe.mtus = {"10.0.0.1": 1280, "10.0.0.2": 1500}
    paths.look([A, B])
    probe.mtus = {"10.0.0.1": 1500, "10.0.0.2": 1280}
    paths._log = BoundedLog("ringproto.transports")
    caplog.clear()
    with caplog.at_level(logging.INFO, "ringproto.transports"):
        paths.look([A, B])
    small, usual = caplog.messages
    assert small.startswith("packets to 10.0.0.2:5001 may have 1280 bytes")
    assert usual == "packets to 10.0.0.1:5001 may have the usual size again"
