"""``ringproto node``: what it prints, how it reads, and two of them driven over pipes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from own_words import own_words

from ringproto import (
    Config,
    Event,
    Guarantee,
    Message,
    Priority,
    RecoveryComplete,
    RegularConfiguration,
    RingId,
    TransitionalConfiguration,
)
from ringproto.cli.node.command import _Node, event_object, event_text, split_input
from ringproto.cli.node.log_lines import LogLines
from ringproto.cli.node.settings import NodeSettings

RING = RingId(4, 1, 0xAB)
TIMEOUT_S = 60


def message(payload: bytes) -> Message:
    return Message(payload, 2, Priority.LOW, Guarantee.SAFE, RING, 17)


def test_events_are_json_objects() -> None:
    ring_id = "4.1.00000000000000ab"
    assert event_object(message("wörld".encode())) == {
        "event": "message",
        "sender": 2,
        "priority": "low",
        "guarantee": "safe",
        "seq": 17,
        "settled": False,
        "payload": "wörld",
        "ring_id": ring_id,
    }
    assert event_object(message(b"\xff\x00"))["payload_base64"] == "/wA="
    assert event_object(message(b"")._replace(settled=True))["settled"] is True
    assert event_object(RegularConfiguration(RING, (1, 2), (2,), (3,), True)) == {
        "event": "regular_configuration",
        "members": (1, 2),
        "joined": (2,),
        "left": (3,),
        "primary": True,
        "ring_id": ring_id,
    }
    assert event_object(TransitionalConfiguration(RING, (1,)))["event"] == "transitional_configuration"
    assert event_object(RecoveryComplete(RING, 9, (1, 2)))["seq"] == 9


def test_events_are_lines_for_people() -> None:
    assert event_text(message(b"hello")) == "    17 from 2 (low): hello"
    assert "joined 2, left 3" in event_text(RegularConfiguration(RING, (1, 2), (2,), (3,), True))
    assert "without a quorum" in event_text(RegularConfiguration(RING, (1,), (), (), False))
    assert "members 1 2" in event_text(TransitionalConfiguration(RING, (1, 2)))
    assert "complete at seq 9" in event_text(RecoveryComplete(RING, 9, (1, 2)))


@pytest.mark.parametrize("payload", [b"\x1b[2J", b"a\nb", b"\xff", "\u202eevil".encode(), b"\0"])
def test_what_a_terminal_would_obey_is_made_harmless(payload: bytes) -> None:
    assert event_text(message(payload)).isprintable()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_input_is_split_into_lines(size: int) -> None:
    text = b"one\n\ntoolong\r\nexactly7\r\n12345678\nlast"
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    assert list(split_input(chunks, 8)) == [b"one", b"", b"toolong", b"exactly7", b"12345678", b"last"]
    assert list(split_input(chunks, 7)) == [b"one", b"", b"toolong", None, None, b"last"]
    assert list(split_input(chunks, 3)) == [b"one", b"", None, None, None, None]
    assert list(split_input([], 8)) == []
    assert list(split_input([b"\n"], 8)) == [b""]


def node_of(**transport: Any) -> _Node:
    settings = NodeSettings(1, transport, Config.lan(), Priority.HIGH, Guarantee.AGREED, True)
    return _Node(settings, cast("LogLines", None))


def configuration(*members: int) -> RegularConfiguration:
    return RegularConfiguration(RING, members, (), (), True)


class Stream:
    """Gives one batch, and then none."""

    def __init__(self, *events: Event, scope: trio.CancelScope | None = None) -> None:
        self.events = list(events)
        self.scope = scope

    async def receive_batch(self) -> list[Event]:
        if not self.events:
            raise trio.EndOfChannel
        await trio.lowlevel.checkpoint()
        events, self.events = self.events, []
        if self.scope is not None:
            self.scope.cancel()  # between taking the events and printing them
        return events


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What goes to standard output."""
    texts: list[bytes] = []
    monkeypatch.setattr("ringproto.cli.node.command.write_all", texts.append)
    return texts


async def test_events_that_were_taken_when_the_processor_was_to_leave_are_printed(
    written: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    node = node_of()
    with trio.CancelScope() as scope:
        await node._print_events(Stream(message(b"x"), scope=scope))
    assert written == []
    await node._printer.print("the last line\n")
    (text,) = written
    assert json.loads(text.splitlines()[0])["payload"] == "x"
    assert text.endswith(b"\nthe last line\n")


async def test_text_that_a_thread_has_is_written_once_and_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    has_it, goes_on = threading.Event(), threading.Event()

    def write(data: bytes) -> None:
        has_it.set()
        goes_on.wait(TIMEOUT_S)
        written.append(data)

    monkeypatch.setattr("ringproto.cli.node.command.write_all", write)
    printer = node_of()._printer
    async with trio.open_nursery() as nursery:
        nursery.start_soon(printer.print, "one\n")
        await trio.to_thread.run_sync(has_it.wait)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(printer.print, "two\n")
        await trio.testing.wait_all_tasks_blocked()
        goes_on.set()
    assert written == [b"one\n", b"two\n"]


@pytest.mark.parametrize(("transport", "warned"), [({"group": "239.192.7.1"}, 1), ({"peers": {1: ("h", 1)}}, 0)])
async def test_multicast_warns_once_when_the_quorum_is_at_most_half_of_a_configuration(
    written: list[bytes], caplog: pytest.LogCaptureFixture, transport: dict[str, Any], warned: int
) -> None:
    node = node_of(**transport)
    with pytest.raises(trio.EndOfChannel):
        await node._print_events(Stream(configuration(1), configuration(1, 2), configuration(1, 2, 3)))
    said = [record for record in caplog.records if "at most half of the 2 processors" in record.getMessage()]
    assert len(said) == len(caplog.records) == warned
    for record in said:
        assert vars(record)["ringproto_kind"] == "quorum" and vars(record)["ringproto_node"] == 1


class NodeProcess:
    """One ``ringproto node --json``, read by a thread, so that a test can wait for a line with a bound."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ringproto", "node", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify_all()

    def send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: any(map(wanted, self.lines)), TIMEOUT_S), self.lines

    def payloads(self) -> list[str]:
        return [line["payload"] for line in self.lines if line["event"] == "message"]

    def end_input(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(TIMEOUT_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


Start = Callable[..., NodeProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[NodeProcess] = []

    def start_one(*flags: str) -> NodeProcess:
        started.append(NodeProcess(*flags))
        return started[-1]

    yield start_one
    for one in started:
        one.close()


@pytest.fixture
def peers() -> list[str]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1], other.getsockname()[1]]
    return [f"--peer=1=127.0.0.1:{ports[0]}", f"--peer=2=127.0.0.1:{ports[1]}"]


def is_event(event: str, **fields: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda line: line["event"] == event and all(line[name] == value for name, value in fields.items())


def test_two_processes_hear_each_other_and_leave_in_order(start: Start, peers: list[str]) -> None:
    one = start("--node=1", "--quorum=2", "--json", *peers)
    one.send("sent before there is a quorum\n")
    two = start("--node=2", "--quorum=2", "--json", "--priority=low", *peers)
    for node in (one, two):
        node.wait_for(is_event("recovery_complete", members=[1, 2]))
    two.send("hello\nwörld\nwithout a line break")
    two.wait_for(is_event("message", payload="wörld", priority="low"))
    assert two.end_input() == 0
    one.wait_for(is_event("message", payload="without a line break", sender=2))
    one.wait_for(is_event("regular_configuration", members=[1], left=[2], primary=False))
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(TIMEOUT_S) == 0
    one.wait_for(is_event("left", sent=1))
    assert sorted(one.payloads()) == sorted(["sent before there is a quorum", "hello", "wörld", "without a line break"])
    assert [p for p in two.payloads() if p in one.payloads()] == one.payloads()


def test_multicast_from_a_file_and_text_output(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "node.toml"
    file.write_text(f'node = 5\ngroup = "239.192.7.9"\nport = {port}\ninterface = "127.0.0.1"\ncluster = "t{port}"\n')
    command = [sys.executable, "-m", "ringproto", "node", "--config", str(file)]
    done = subprocess.run(command, input=b"one\ntwo\n", capture_output=True, timeout=TIMEOUT_S)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("* configuration") and "members 5" in lines[0]
    assert [line.split(": ")[1] for line in lines if "from 5 (high)" in line] == ["one", "two"]
    assert lines[-1] == "* left the ring; 2 lines sent, 2 of them delivered here"


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "ringproto", "node", "--node=1", f"--peer=1={address}"]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.decode().startswith(f"ringproto node: {address}") and done.stderr.count(b"\n") == 1


def test_a_line_that_is_too_long_is_told_and_left_out(tmp_path: Path, peers: list[str]) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[config]\nmessage_size_max = 10\n")
    command = [sys.executable, "-m", "ringproto", "node", "--node=1", peers[0], "--json", "--config", str(file)]
    done = subprocess.run(command, input=b"short\n12345678901\nlast\n", capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 0
    assert [json.loads(line).get("payload") for line in done.stdout.splitlines() if b"payload" in line] == [
        "short",
        "last",
    ]
    assert own_words(done.stderr) == [b"ringproto node: a line of more than 10 bytes was not sent"]


def test_last_line_is_there_each_time(peers: list[str]) -> None:
    command = [sys.executable, "-m", "ringproto", "node", "--node=1", peers[0], "--json"]
    for _ in range(5):
        done = subprocess.run(command, input=b"", capture_output=True, timeout=TIMEOUT_S)
        assert done.returncode == 0
        assert json.loads(done.stdout.splitlines()[-1]) == {"event": "left", "sent": 0, "delivered": 0}


def test_lines_that_were_not_delivered_are_told_by_the_exit_code(peers: list[str]) -> None:
    command = [sys.executable, "-m", "ringproto", "node", "--node=1", peers[0], "--quorum=2", "--json"]
    done = subprocess.run(command, input=b"one\ntwo\n", capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1]) == {"event": "left", "sent": 2, "delivered": 0}
    said = b"ringproto node: 2 lines were sent and not delivered here before this processor left"
    assert own_words(done.stderr) == [said]
    assert b"1 of the 2 members that Config.quorum asks for" in done.stderr
