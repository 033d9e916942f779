"""Rings of real processes: start them, tell them what to do, kill and pause them, and judge what they wrote.

Whatever happens in a test, all its processes are killed and waited for when the block ends. Every wait is bounded, and
says what was waited for, and how all processes were.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from ringproto.testing.judge import judge
from ringproto.testing.judge.transcript import Start, Stop, Transcript

WORKER = Path(__file__).with_name("process_worker.py")
ANSWER_WITHIN_S = 15.0
SETTLE_WITHIN_S = 25.0
CONFIG: dict[str, Any] = {
    # Two busy cores are shared by many processes: one that does not run for half a second is not dead.
    "token_timeout_s": 1.0,
    "token_retransmit_s": 0.2,
    "consensus_timeout_s": 0.5,
}
_numbers = itertools.count(1)


class Process:
    """One life of one processor."""

    def __init__(self, node: int, log: Path, process: trio.Process) -> None:
        self.node = node
        self.log = log
        self.process = process
        self.stopped = False
        self.killed = False
        self.frozen = False
        self.last: dict[str, Any] = {}
        self._rest = b""
        self._lock = trio.Lock()

    async def ask(self, command: str, value: Any = None) -> Any:
        """Send a command, wait for the answer."""
        assert self.process.stdin is not None
        async with self._lock:
            with trio.move_on_after(ANSWER_WITHIN_S):
                await self.process.stdin.send_all(json.dumps([command, value]).encode() + b"\n")
                return await self.answer()
        raise AssertionError(f"processor {self.node} did not answer {command!r} within {ANSWER_WITHIN_S} s")

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            more = await self.process.stdout.receive_some()
            if not more:
                code = await self.process.wait()
                raise AssertionError(f"processor {self.node} ended by itself, exit code {code}: {self.stderr()}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    async def status(self) -> dict[str, Any]:
        self.last = await self.ask("status")
        return self.last

    def stderr(self) -> str:
        return self.log.with_suffix(".stderr").read_text()[-2000:] or "it wrote nothing to standard error"

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        self.killed = True
        self.process.kill()
        await self.process.wait()

    async def leave(self) -> None:
        """Tell it to leave the ring, and wait for its end."""
        await self.ask("leave")
        await self.ended(0)

    async def ended(self, code: int) -> None:
        with trio.move_on_after(ANSWER_WITHIN_S):
            found = await self.process.wait()
            assert found == code, f"processor {self.node} ended with exit code {found}: {self.stderr()}"
            return
        raise AssertionError(f"processor {self.node} did not end within {ANSWER_WITHIN_S} s")


class Processes:
    """All lives of all processors of one test. Made by :func:`open_processes`."""

    def __init__(self, folder: Path, wire: Callable[[int], dict[str, Any]], hosts: Callable[[int], str | None]) -> None:
        self.lives: list[Process] = []
        self._folder = folder
        self._wire = wire
        self._hosts = hosts
        self._cluster = f"test {os.getpid()} {next(_numbers)}"
        self._sequences: dict[int, int] = {}

    @property
    def running(self) -> list[Process]:
        return [one for one in self.lives if one.process.returncode is None and not one.stopped]

    async def start(
        self, *nodes: int, gap_s: float = 0.004, stands_still_s: float = 0.0, driver: str = "trio", **config: Any
    ) -> list[Process]:
        """Start processors; those that lived before begin with the ring sequence that was stored.

        In each of their recoveries they stand still for ``stands_still_s``.
        """
        habits = {"gap_s": gap_s, "stands_still_s": stands_still_s, "driver": driver}
        started = [await self._start(node, habits, config) for node in nodes]
        for one in started:
            with trio.move_on_after(ANSWER_WITHIN_S) as scope:
                assert await one.answer() == "open"
            assert not scope.cancelled_caught, f"processor {one.node} did not start within {ANSWER_WITHIN_S} s"
        return started

    async def _start(self, node: int, habits: dict[str, Any], config: dict[str, Any]) -> Process:
        life = 1 + sum(one.node == node for one in self.lives)
        log = self._folder / f"{node}.{life}.log"
        setup = {
            "node": node,
            "life": life,
            "log": str(log),
            **habits,
            "wire": self._wire(node),
            "config": {"cluster": self._cluster, **CONFIG, **config},
            "ring_sequence": self._sequences.get(node, 0),
        }
        command = [sys.executable, str(WORKER), json.dumps(setup)]
        host = self._hosts(node)
        if host is not None:
            command = ["ip", "netns", "exec", host, *command]
        # The worker imports what this process imports, however that was installed.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with log.with_suffix(".stderr").open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment
            )
        one = Process(node, log, process)
        self.lives.append(one)
        return one

    def store_sequence(self, one: Process) -> None:
        """What its stable storage would have had when it was last asked."""
        self._sequences[one.node] = one.last["ring_sequence"]

    async def until(self, predicate: Callable[[], bool], what: str, *, of: Collection[Process] = ()) -> None:
        """Ask these processes (all that run) for their status until the predicate holds."""
        with trio.move_on_after(SETTLE_WITHIN_S):
            while True:
                for one in of or self.running:
                    await one.status()
                if predicate():
                    return
                await trio.sleep(0.03)
        states = "\n".join(
            f"{one.node}: " + str({name: value for name, value in one.last.items() if name != "statistics"})
            for one in self.running
        )
        raise AssertionError(f"within {SETTLE_WITHIN_S} s it did not happen that {what}; the processes:\n{states}")

    async def together(self, *ones: Process) -> None:
        """Wait until these, and no others, are in one configuration with its barrier complete."""
        members = sorted(one.node for one in ones)

        def reached() -> bool:
            return (
                all(one.last["members"] == members and not one.last["waiting_for"] for one in ones)
                and len({one.last["ring"] for one in ones}) == 1
            )

        await self.until(reached, f"processors {members} are together", of=ones)

    async def load(self, *ones: Process, on: bool = True) -> None:
        for one in ones:
            await one.ask("load", on)

    async def more_delivered(self, count: int, *ones: Process) -> None:
        """Wait until each has delivered so many messages more."""
        before = {one: (await one.status())["delivered"] for one in ones}
        await self.until(
            lambda: all(one.last["delivered"] >= before[one] + count for one in ones),
            f"each of {[one.node for one in ones]} delivered {count} messages more",
            of=ones,
        )

    async def quiet(self, *ones: Process) -> None:
        """End the load and wait until everything that was accepted was delivered, in one order, to all."""
        await self.load(*ones, on=False)
        await self.together(*ones)
        before: list[Any] = []

        def still() -> bool:
            nonlocal before
            now = [(one.last["order"], one.last["delivered"], one.last["ring"]) for one in ones]
            same, before = now == before, now
            return same and len({order for order, _, _ in now}) == 1 and not any(one.last["queued"] for one in ones)

        await self.until(still, "all delivered the same, and nothing is queued", of=ones)

    async def judge(self, *alive: Process) -> list[Transcript]:
        """Hold the logs against the rules; those alive must be together and have everything."""
        for one in alive:
            await one.ask("freeze")
        transcripts = []
        complete = []
        truncated = False
        for one in self.lives:
            transcript = Transcript.from_lines(one.log.read_text().splitlines())
            if one.killed:
                transcript.records.append(Stop("crash"))
                truncated = True
            if one in alive:
                assert isinstance(transcript.records[0], Start)
                complete.append((transcript.node, transcript.incarnation))
            transcripts.append(transcript)
        violations = judge(transcripts, complete=complete, truncated=truncated, storage_survives=True)
        if violations:
            raise AssertionError("the judge says:\n" + "\n".join(map(str, violations)))
        return transcripts


@asynccontextmanager
async def open_processes(
    folder: Path, wire: Callable[[int], dict[str, Any]], hosts: Callable[[int], str | None] = lambda node: None
) -> AsyncIterator[Processes]:
    """Processes that end with this block. ``wire(node)`` is the transport of a node, ``hosts(node)`` its namespace."""
    processes = Processes(folder, wire, hosts)
    try:
        yield processes
    finally:
        for one in processes.lives:
            if one.process.returncode is None:
                one.process.kill()  # this ends a stopped process too
        with trio.CancelScope(shield=True):
            for one in processes.lives:
                with trio.move_on_after(10):
                    await one.process.wait()
                for stream in (one.process.stdin, one.process.stdout):
                    assert stream is not None
                    await stream.aclose()


def free_ports(host: str, count: int) -> list[int]:
    """UDP ports that nobody has at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.bind((host, 0))
            ports.append(sock.getsockname()[1])
        return ports


def unicast_on_this_host(host: str, count: int) -> Callable[[int], dict[str, Any]]:
    peers = {str(node): (host, port) for node, port in enumerate(free_ports(host, count), 1)}
    return lambda node: {"kind": "unicast", "peers": peers}


def multicast_on_this_host() -> Callable[[int], dict[str, Any]]:
    (port,) = free_ports("127.0.0.1", 1)
    group = f"239.192.{os.getpid() % 256}.{next(_numbers) % 256}"
    return lambda node: {"kind": "multicast", "group": group, "port": port, "interface": "127.0.0.1"}


def unicast_between_hosts(count: int, family: int) -> Callable[[int], dict[str, Any]]:
    address = "10.77.0.{}" if family == 4 else "fd77::{}"
    peers = {str(node): (address.format(node), 5000 + node) for node in range(1, count + 1)}
    return lambda node: {"kind": "unicast", "peers": peers}


def multicast_between_hosts(family: int) -> Callable[[int], dict[str, Any]]:
    group = "239.192.7.1" if family == 4 else "ff15::7:1"
    return lambda node: {"kind": "multicast", "group": group, "port": 5405, "interface": "eth0"}
