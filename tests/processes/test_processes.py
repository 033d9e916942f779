"""Real processes and real sockets: killed, stopped, started again and cut off, with their logs before the judge."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import namespaces
import pytest
import trio

from ringproto.testing.judge import judge
from ringproto.testing.transcript import Transcript

WORKER = Path(__file__).with_name("ring_worker.py")
NODES = (1, 2, 3)
TOKEN_TIMEOUT_S = 0.8
CONFIG = {"token_timeout_s": TOKEN_TIMEOUT_S, "consensus_timeout_s": 0.4, "quorum": 2}
PATIENCE_S = 40.0


class Member:
    """One process, and what it has said so far."""

    def __init__(self, node: int, process: trio.Process, log: Path) -> None:
        self.node = node
        self.process = process
        self.log = log
        self.configuration: dict[str, Any] = {"ring": "", "members": []}
        self.complete = ""

    def settled(self, nodes: tuple[int, ...]) -> bool:
        return tuple(self.configuration["members"]) == nodes and self.complete == self.configuration["ring"]

    async def listen(self) -> None:
        rest = b""
        assert self.process.stdout is not None
        with contextlib.suppress(trio.ClosedResourceError):
            async for chunk in self.process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    if said["event"] == "RegularConfiguration":
                        self.configuration = said
                    else:
                        self.complete = said["ring"]


class Processes:
    """Starts, signals and ends the members of one ring."""

    def __init__(self, nursery: trio.Nursery, folder: Path, settings: Callable[[int], dict[str, Any]]) -> None:
        self._nursery = nursery
        self._folder = folder
        self._settings = settings
        self._lives = itertools.count()
        self.members: dict[int, Member] = {}
        self.all: list[Member] = []
        self.namespace: Callable[[int], list[str]] = lambda node: []

    async def start(self, *nodes: int) -> None:
        for node in nodes:
            log = self._folder / f"{next(self._lives):02}-{node}.jsonl"
            settings = {"node": node, "log": str(log), "config": CONFIG, **self._settings(node)}
            process = await trio.lowlevel.open_process(
                [*self.namespace(node), sys.executable, str(WORKER), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            member = Member(node, process, log)
            self.members[node] = member
            self.all.append(member)
            self._nursery.start_soon(member.listen)

    def signal(self, node: int, number: int) -> None:
        self.members[node].process.send_signal(number)

    async def kill(self, node: int) -> None:
        member = self.members.pop(node)
        member.process.kill()
        await member.process.wait()

    async def settle(self, *nodes: int) -> None:
        """Wait until these are in one configuration of just these, with its barrier complete."""
        with trio.move_on_after(PATIENCE_S):
            while True:
                rings = {self.members[node].configuration["ring"] for node in nodes}
                if len(rings) == 1 and all(self.members[node].settled(nodes) for node in nodes):
                    return
                await trio.sleep(0.01)
        state = {node: (m.configuration, m.complete, m.process.poll()) for node, m in self.members.items()}
        raise AssertionError(f"{nodes} did not settle within {PATIENCE_S} s: {state}")

    async def leave(self, node: int) -> int:
        """End its input; it leaves the ring. Returns the exit code."""
        member = self.members.pop(node)
        assert member.process.stdin is not None
        await member.process.stdin.aclose()
        with trio.move_on_after(PATIENCE_S):
            return await member.process.wait()
        raise AssertionError(f"process {node} did not leave within {PATIENCE_S} s")

    def end(self) -> None:
        for member in self.all:
            if member.process.poll() is None:
                member.process.kill()

    def judge(self) -> int:
        """Hold all logs against all rules; returns how many messages were delivered."""
        transcripts = [Transcript.from_lines(member.log.read_text().splitlines()) for member in self.all]
        violations = judge([one for one in transcripts if len(one)], quorum=CONFIG["quorum"], truncated=True)
        assert violations == [], "\n".join(map(str, violations[:10]))
        return sum(type(record).__name__ == "Delv" for one in transcripts for record in one.records)


@contextlib.asynccontextmanager
async def processes(
    folder: Path, settings: Callable[[int], dict[str, Any]], namespace: Callable[[int], list[str]] | None = None
) -> AsyncIterator[Processes]:
    async with trio.open_nursery() as nursery:
        ring = Processes(nursery, folder, settings)
        if namespace is not None:
            ring.namespace = namespace
        try:
            yield ring
        finally:
            ring.end()
            nursery.cancel_scope.cancel()


def free_ports(family: int, host: str, count: int) -> list[int]:
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def unicast(family: int, host: str) -> Callable[[int], dict[str, Any]]:
    peers = dict(zip(NODES, free_ports(family, host, len(NODES)), strict=True))
    return lambda node: {"kind": "unicast", "peers": {peer: (host, port) for peer, port in peers.items()}}


def multicast(group: str, interface: str) -> Callable[[int], dict[str, Any]]:
    port = random.SystemRandom().randrange(20_000, 30_000)
    return lambda node: {"kind": "multicast", "group": group, "port": port, "interface": interface}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(params=["unicast", "unicast6", "multicast"])
def settings(request: pytest.FixtureRequest) -> Callable[[int], dict[str, Any]]:
    if request.param == "multicast":
        return multicast("239.192.7.9", "127.0.0.1")
    if request.param == "unicast6" and not has_ipv6():
        pytest.skip("this host has no ::1")
    return unicast(*((socket.AF_INET6, "::1") if request.param == "unicast6" else (socket.AF_INET, "127.0.0.1")))


async def test_member_is_killed_and_comes_back_while_all_send(
    tmp_path: Path, settings: Callable[[int], dict[str, Any]]
) -> None:
    async with processes(tmp_path, settings) as ring:
        await ring.start(*NODES)
        await ring.settle(1, 2, 3)
        await trio.sleep(0.3)
        await ring.kill(2)
        await ring.settle(1, 3)
        await trio.sleep(0.3)
        await ring.start(2)
        await ring.settle(1, 2, 3)
        await trio.sleep(0.3)
        assert [await ring.leave(node) for node in NODES] == [0, 0, 0]
    assert ring.judge() > 100


async def test_representative_is_killed_and_a_leaver_costs_nothing(tmp_path: Path) -> None:
    async with processes(tmp_path, unicast(socket.AF_INET, "127.0.0.1")) as ring:
        await ring.start(*NODES)
        await ring.settle(1, 2, 3)
        await ring.kill(1)
        await ring.settle(2, 3)
        await ring.start(1)
        await ring.settle(1, 2, 3)
        assert await ring.leave(3) == 0
        await ring.settle(1, 2)
        assert [await ring.leave(node) for node in (1, 2)] == [0, 0]
    assert ring.judge() > 100


async def test_stopped_member_is_left_out_and_let_in_again(tmp_path: Path) -> None:
    async with processes(tmp_path, unicast(socket.AF_INET, "127.0.0.1")) as ring:
        await ring.start(*NODES)
        await ring.settle(1, 2, 3)
        ring.signal(3, signal.SIGSTOP)
        await ring.settle(1, 2)
        await trio.sleep(TOKEN_TIMEOUT_S)
        ring.signal(3, signal.SIGCONT)
        await ring.settle(1, 2, 3)
        await trio.sleep(0.3)
        assert [await ring.leave(node) for node in NODES] == [0, 0, 0]
    assert ring.judge() > 100


async def test_member_that_stops_shorter_than_the_token_timeout_stays(tmp_path: Path) -> None:
    """Of three short stops none may cost the membership; a busy machine gets a long token timeout for it."""

    def patient(node: int) -> dict[str, Any]:
        return {**base(node), "config": {**CONFIG, "token_timeout_s": 8.0}}

    base = unicast(socket.AF_INET, "127.0.0.1")
    async with processes(tmp_path, patient) as ring:
        await ring.start(*NODES)
        await ring.settle(1, 2, 3)
        formed = ring.members[1].configuration["ring"]
        for node in NODES:
            ring.signal(node, signal.SIGSTOP)
            await trio.sleep(0.3)
            ring.signal(node, signal.SIGCONT)
            await trio.sleep(0.2)
        await ring.settle(1, 2, 3)
        assert {member.configuration["ring"] for member in ring.members.values()} == {formed}
        assert [await ring.leave(node) for node in NODES] == [0, 0, 0]
    assert ring.judge() > 100


@pytest.mark.skipif(namespaces.missing() is not None, reason=namespaces.missing() or "")
@pytest.mark.parametrize("group", ["239.192.7.10", "ff15::7:10"])
async def test_hosts_are_cut_off_and_come_together_again(tmp_path: Path, group: str) -> None:
    with namespaces.hosts_on_a_bridge(3) as hosts:
        async with processes(
            tmp_path, multicast(group, "eth0"), lambda node: ["ip", "netns", "exec", hosts[node]]
        ) as ring:
            await ring.start(*NODES)
            await ring.settle(1, 2, 3)
            hosts.set_link(1, "down")
            await ring.settle(2, 3)
            await trio.sleep(0.5)
            hosts.set_link(1, "up")
            if ":" not in group:  # the kernel takes IPv6 addresses away with the link, and does not give them back
                await ring.settle(1, 2, 3)
            await trio.sleep(0.3)
            assert [await ring.leave(node) for node in NODES] == [0, 0, 0]
    assert ring.judge() > 100


@pytest.mark.skipif(namespaces.missing() is not None, reason=namespaces.missing() or "")
async def test_processors_on_three_hosts_by_unicast(tmp_path: Path) -> None:
    peers = {node: (f"10.77.0.{node}", 5405) for node in NODES}
    with namespaces.hosts_on_a_bridge(3, mtu=1400) as hosts:
        async with processes(
            tmp_path,
            lambda node: {"kind": "unicast", "peers": peers},
            lambda node: ["ip", "netns", "exec", hosts[node]],
        ) as ring:
            await ring.start(*NODES)
            await ring.settle(1, 2, 3)
            await ring.kill(3)
            await ring.settle(1, 2)
            await ring.start(3)
            await ring.settle(1, 2, 3)
            assert [await ring.leave(node) for node in NODES] == [0, 0, 0]
    assert ring.judge() > 100
