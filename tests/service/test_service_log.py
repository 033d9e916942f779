"""The log of a ring is bounded: a line a second of each kind."""

from __future__ import annotations

import logging
import math
import os
import socket

import pytest

from ringproto import Config, open_ring
from ringproto.log import BoundedLog
from ringproto.transports import PacedTransport, Transport, open_multicast_udp, open_unicast_udp


def test_one_line_a_second_of_each_kind_and_the_next_says_how_many_were_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 10.0
    log = BoundedLog(clock=lambda: now)
    with caplog.at_level(logging.INFO, logger="ringproto"):
        for second in range(3):
            now = 10.0 + second
            for number in range(5):
                log.warning("send_errors", f"error {number}")
                log.info("configuration", f"change {number}")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "error 0",
        "error 0 (4 more lines like this one were left out)",
        "error 0 (4 more lines like this one were left out)",
    ]
    assert len(caplog.records) == 6


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """The lines, each with how many were left out before it."""
    return [(record.message.partition(" (")[0], vars(record)["ringproto_missed"]) for record in caplog.records]


def test_last_line_of_what_is_so_is_written_when_its_second_is_over(caplog: pytest.LogCaptureFixture) -> None:
    now = 10.0
    log = BoundedLog(clock=lambda: now)
    with caplog.at_level(logging.INFO, logger="ringproto"):
        for number in range(4):
            log.state(logging.INFO, "configuration", f"change {number}", members=(number,))
            log.state(logging.WARNING, "interface", f"place {number}")
        assert told(caplog) == [("change 0", 0), ("place 0", 0)] and log.held_until == 11.0
        now = 10.9
        log.write_held()
        assert len(caplog.records) == 2
        now = 11.0
        log.write_held()
        log.write_held()
        assert told(caplog)[2:] == [("change 3", 2), ("place 3", 2)]
        assert caplog.records[2].message == "change 3 (2 more lines like this one were left out)"
        assert vars(caplog.records[2])["ringproto_members"] == (3,)
        assert [record.levelno for record in caplog.records[2:]] == [logging.INFO, logging.WARNING]
        # Its time counts as that of every line.
        now = 11.5
        log.state(logging.INFO, "configuration", "change 4")
        assert len(caplog.records) == 4 and log.held_until == 12.0


def test_newer_line_takes_the_place_of_one_that_is_held(caplog: pytest.LogCaptureFixture) -> None:
    now = 10.0
    log = BoundedLog(clock=lambda: now)
    with caplog.at_level(logging.INFO, logger="ringproto"):
        for number in range(3):
            log.state(logging.INFO, "configuration", f"change {number}")
        now = 12.0  # nobody asked for what was held
        log.state(logging.INFO, "configuration", "change 3")
        log.write_held(at_once=True)
        assert told(caplog) == [("change 0", 0), ("change 3", 2)]
        log.state(logging.INFO, "configuration", "change 4")
        log.write_held(at_once=True)
        assert told(caplog)[2:] == [("change 4", 0)] and log.held_until == math.inf


def test_line_of_what_happened_is_not_held(caplog: pytest.LogCaptureFixture) -> None:
    log = BoundedLog(clock=lambda: 10.0)
    with caplog.at_level(logging.INFO, logger="ringproto"):
        for number in range(3):
            log.warning("send", f"error {number}")
        log.write_held(at_once=True)
    assert told(caplog) == [("error 0", 0)]


def test_what_is_not_logged_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    log = BoundedLog(clock=lambda: 0.0)
    with caplog.at_level(logging.WARNING, logger="ringproto"):
        log.info("kind", "not shown at this level")
        log.warning("kind", "shown")
    assert [record.getMessage() for record in caplog.records] == ["shown"]


def test_kinds_that_are_remembered_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    log = BoundedLog(clock=lambda: 0.0)
    with caplog.at_level(logging.WARNING, logger="ringproto"):
        for kind in range(10_000):
            log.warning(f"kind {kind}", "text")
    assert len(log._last) <= 256
    more = BoundedLog(clock=lambda: 0.0, kinds_max=1000)
    with caplog.at_level(logging.WARNING, logger="ringproto"):
        for kind in range(10_000):
            more.warning(f"kind {kind}", "text")
    assert len(more._last) <= 1000
    assert len(more._last) > 256


@pytest.mark.parametrize("kind", ["unicast", "multicast"])
async def test_every_line_below_ringproto_has_a_kind_and_a_node(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("ringproto._service.ring._log", BoundedLog())  # another ring may have said the same just now
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with caplog.at_level(logging.INFO, "ringproto"):
        transport: Transport
        if kind == "unicast":
            # The table hints at two faults.
            transport = await open_unicast_udp(7, {7: ("0.0.0.0", port), 8: ("127.0.0.1", port + 1)})
        else:
            transport = await open_multicast_udp(
                7, f"239.192.9.{os.getpid() % 250 + 1}", port, interface="127.0.0.1", receive_buffer=2**30
            )
        config = Config.testing(message_size_max=2**24, members_max=64)  # which may take much memory
        async with open_ring(transport, config=config) as ring:
            await ring.recovery_complete.receive()
    names = {record.name for record in caplog.records}
    assert {"ringproto"} <= names
    assert kind == "multicast" or "ringproto.transports" in names
    assert [vars(record).get("ringproto_node") for record in caplog.records] == [7] * len(caplog.records)
    kinds = {vars(record)["ringproto_kind"] for record in caplog.records}
    assert {"memory", "left"} <= kinds


@pytest.mark.parametrize(
    ("config", "given", "silence_s"),
    [
        (Config.lan(), None, 5.0),
        (Config.wan(), None, 16.0),
        (Config.wan(), 3.0, 3.0),
    ],
    ids=["lan", "wan", "given"],
)
async def test_group_is_joined_again_after_a_time_that_suits_the_ring(
    config: Config, given: float | None, silence_s: float
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = f"239.192.10.{os.getpid() % 250 + 1}"
    transport = await open_multicast_udp(7, group, port, interface="127.0.0.1", silence_s=given)
    assert isinstance(transport, PacedTransport)
    async with open_ring(transport, config=config) as ring:
        await ring.recovery_complete.receive()
        assert transport._silence.silence_s == silence_s
