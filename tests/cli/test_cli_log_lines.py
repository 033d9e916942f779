"""The lines that ``ringproto node`` writes to standard error: what the ring logs, made harmless, without waiting."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringproto import Config, Guarantee, Priority
from ringproto.cli.node import log_lines
from ringproto.cli.node.command import warn_of_quorum
from ringproto.cli.node.log_lines import LogLines, open_log_lines
from ringproto.cli.node.settings import NodeSettings


@contextmanager
def reading(descriptor: int) -> Iterator[list[str]]:
    """The lines that were written when this block has ended."""
    lines: list[str] = []
    yield lines
    with open(descriptor) as written:
        lines += written.read().splitlines()


def logged(level: int, text: str, *args: object, **more: object) -> list[str]:
    readable, writable = os.pipe()
    with reading(readable) as lines:
        with open_log_lines("ringproto node", writable):
            logging.getLogger("ringproto").log(level, text, *args, **more)
        os.close(writable)
    return lines


def test_what_the_ring_logs_is_one_line_each() -> None:
    assert logged(logging.WARNING, "the interface %s has gone", "eth0") == [
        "ringproto node: warning: the interface eth0 has gone"
    ]
    assert logged(logging.INFO, "one\n two") == ["ringproto node: info: one two"]
    assert logged(logging.DEBUG, "of no interest") == []


def test_what_a_terminal_would_obey_is_an_escape() -> None:
    assert logged(logging.INFO, "name \x1b[2J\x07 \u202e") == [r"ringproto node: info: name \x1b[2J\x07 \u202e"]


def test_line_of_any_length_is_cut() -> None:
    (line,) = logged(logging.INFO, "x" * 10**6)
    assert len(line) < 200
    (line,) = logged(logging.INFO, "x " * 10**6)
    assert len(line) < 1200


def test_error_in_a_record_is_told_without_its_traceback() -> None:
    error = OSError("no more sockets")
    assert logged(logging.WARNING, "it failed", exc_info=error) == [
        "ringproto node: warning: it failed: OSError: no more sockets"
    ]


def test_logger_is_as_it_was_afterwards() -> None:
    logger = logging.getLogger("ringproto")
    before = (logger.level, list(logger.handlers))
    assert logged(logging.INFO, "x")
    assert (logger.level, logger.handlers) == before


def test_terminal_that_does_not_read_holds_nobody_up_and_what_was_left_out_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_lines, "_CLOSE_S", 60.0)
    readable, writable = os.pipe()
    lines = LogLines("node", writable)
    count = 0
    while lines._missed < 20:  # a pipe holds some 300 of them, and 256 wait; then the last ones are left out
        lines.say(f"{count} " + "y " * 100)
        count += 1
    written: list[str] = []
    with open(readable) as source:
        reader = threading.Thread(target=lambda: written.extend(source))
        reader.start()  # somebody reads again: what waits comes, and then how many are missing
        lines.close()
        os.close(writable)
        reader.join()
    assert written[-1].startswith("node: no more lines (")
    left_out = [int(line.split("(")[1].split()[0]) for line in written if line.endswith("were left out)\n")]
    assert left_out[-1] > 0 and len(written) - 1 + sum(left_out) == count


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux makes a pipe smaller")
def test_terminal_that_never_waits_is_written_to_as_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever started the command left the pipe in that mode."""
    monkeypatch.setattr(log_lines, "_CLOSE_S", 60.0)
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    lines = LogLines("node", writable)
    said = [f"{number} " + "y " * 100 for number in range(200)]  # which may all wait
    fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, 4096)
    written: list[str] = []

    def read() -> None:
        with open(readable) as source:
            written.extend(source)

    for line in said:
        lines.say(line)
    while select.select([], [writable], [], 0.0)[1]:
        time.sleep(0.001)
    time.sleep(0.1)  # what does not wait has gone by now
    reader = threading.Thread(target=read)
    reader.start()
    lines.close()
    os.close(writable)
    reader.join()
    assert written == [f"node: {line.strip()}\n" for line in said]


def test_standard_error_that_cannot_be_written_is_no_error() -> None:
    readable, writable = os.pipe()
    os.close(readable)
    lines = LogLines("node", writable)
    lines.say("lost")
    lines.close()
    os.close(writable)


def settings(peers: int, quorum: int, multicast: bool = False) -> NodeSettings:
    transport = (
        {"kind": "multicast"} if multicast else {"kind": "unicast", "peers": {n: ("h", n) for n in range(peers)}}
    )
    return NodeSettings(1, transport, Config(quorum=quorum), Priority.HIGH, Guarantee.AGREED, False)


@pytest.mark.parametrize(
    ("peers", "quorum", "needed"),
    [(2, 1, 2), (3, 1, 2), (4, 2, 3), (5, 2, 3), (6, 3, 4), (1, 1, 0), (3, 2, 0), (4, 3, 0)],
)
def test_quorum_of_at_most_half_of_the_peers_is_warned_of(
    peers: int, quorum: int, needed: int, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_quorum(settings(peers, quorum))
    texts = [record.getMessage() for record in caplog.records]
    if needed:
        assert len(texts) == 1 and texts[0].startswith(f"the quorum of {quorum} is at most half of the {peers} proc")
        assert f"A quorum of {needed} prevents that" in texts[0]
    else:
        assert texts == []


def test_nothing_is_known_of_the_members_of_a_multicast_ring(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_quorum(settings(0, 1, multicast=True))
    assert caplog.records == []
