"""The log of a ring is bounded: a line a second of each kind."""

from __future__ import annotations

import logging

import pytest

from ringproto.log import BoundedLog


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
