"""Real processes and real sockets on one host: what they wrote is held before the judge."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from process_ring import Processes, multicast_on_this_host, open_processes, unicast_on_this_host

from ringproto.testing.judge.transcript import Delv, Stop, Submit

Wire = Callable[[int], dict[str, Any]]


def has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6 on its loopback interface")
WIRES = [
    pytest.param(lambda count: unicast_on_this_host("127.0.0.1", count), id="unicast IPv4"),
    pytest.param(lambda count: unicast_on_this_host("::1", count), id="unicast IPv6", marks=needs_ipv6),
    pytest.param(lambda count: multicast_on_this_host(), id="multicast IPv4"),
]


async def kill_and_come_back(processes: Processes) -> None:
    """Load from all; one is killed, the others go on; it comes back, is given the state, and all go on."""
    first, second, third = await processes.start(1, 2, 3)
    await processes.together(first, second, third)
    await processes.load(first, second, third)
    await processes.more_delivered(200, first, second, third)
    await third.status()
    processes.store_sequence(third)
    await third.kill()
    await processes.together(first, second)
    await processes.more_delivered(100, first, second)
    (again,) = await processes.start(3)
    await processes.load(again)
    await processes.together(first, second, again)
    await processes.more_delivered(100, first, second, again)
    await processes.quiet(first, second, again)
    transcripts = await processes.judge(first, second, again)
    submitted = [record.mid for record in transcripts[0].records if isinstance(record, Submit)]
    delivered = {record.mid for record in transcripts[0].records if isinstance(record, Delv)}
    assert len(submitted) > 50
    assert {mid for mid in submitted if ".s" not in mid} <= delivered, "what a living processor sent it delivered"
    for one in (first, second, again):
        await one.leave()


@pytest.mark.parametrize("wire", WIRES)
async def test_killed_process_comes_back_under_load(tmp_path: Path, wire: Callable[[int], Wire]) -> None:
    async with open_processes(tmp_path, wire(3)) as processes:
        await kill_and_come_back(processes)


@pytest.mark.parametrize("wire", [WIRES[0], WIRES[2]])
async def test_paused_process_is_left_out_and_let_in_again(tmp_path: Path, wire: Callable[[int], Wire]) -> None:
    async with open_processes(tmp_path, wire(3)) as processes:
        first, second, third = await processes.start(1, 2, 3)
        await processes.together(first, second, third)
        await processes.load(first, second, third)
        await processes.more_delivered(100, first, second, third)
        second.pause()
        await processes.together(first, third)
        await processes.more_delivered(100, first, third)
        second.go_on()
        await processes.together(first, second, third)
        await processes.more_delivered(50, first, second, third)
        await processes.quiet(first, second, third)
        await processes.judge(first, second, third)


async def test_pause_that_is_shorter_than_the_token_timeout_changes_nothing(tmp_path: Path) -> None:
    async with open_processes(tmp_path, unicast_on_this_host("127.0.0.1", 2)) as processes:
        first, second = await processes.start(1, 2, token_timeout_s=8.0)
        await processes.together(first, second)
        ring = first.last["ring"]
        await processes.load(first, second)
        await processes.more_delivered(50, first, second)
        second.pause()
        await trio.sleep(1.0)
        second.go_on()
        await processes.more_delivered(50, first, second)
        await processes.quiet(first, second)
        assert first.last["ring"] == second.last["ring"] == ring
        await processes.judge(first, second)


@pytest.mark.parametrize("driver", ["trio", "thread"])
async def test_process_that_stands_still_in_each_recovery_is_waited_for(tmp_path: Path, driver: str) -> None:
    """For longer than the token timeout and the consensus timeout together, whatever drives it."""
    config = {"token_timeout_s": 0.4, "token_retransmit_s": 0.1, "consensus_timeout_s": 0.25, "driver": driver}
    async with open_processes(tmp_path, unicast_on_this_host("127.0.0.1", 3)) as processes:
        others = await processes.start(2, 3, **config)
        await processes.together(*others)
        (standing,) = await processes.start(1, stands_still_s=1.5, **config)
        await processes.together(standing, *others)
        await processes.load(standing, *others)
        await processes.more_delivered(50, standing, *others)
        await processes.quiet(standing, *others)
        await processes.judge(standing, *others)


async def test_two_of_five_are_killed_at_once(tmp_path: Path) -> None:
    async with open_processes(tmp_path, multicast_on_this_host()) as processes:
        five = await processes.start(1, 2, 3, 4, 5, gap_s=0.01)
        await processes.together(*five)
        await processes.load(*five)
        await processes.more_delivered(100, *five)
        survivors = [one for one in five if one.node not in (1, 4)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(five[0].kill)
            nursery.start_soon(five[3].kill)
        await processes.together(*survivors)
        await processes.more_delivered(50, *survivors)
        await processes.quiet(*survivors)
        await processes.judge(*survivors)


async def test_process_that_is_interrupted_leaves_in_an_orderly_way(tmp_path: Path) -> None:
    """Control-C: what it accepted is sent, the others are told, and nothing but a KeyboardInterrupt comes out."""
    async with open_processes(tmp_path, unicast_on_this_host("127.0.0.1", 3)) as processes:
        first, second, third = await processes.start(1, 2, 3)
        await processes.together(first, second, third)
        await processes.load(first, second, third)
        await processes.more_delivered(50, first, second, third)
        third.process.send_signal(signal.SIGINT)
        await third.ended(130)
        await processes.together(first, second)
        await processes.quiet(first, second)
        transcripts = await processes.judge(first, second)
        gone = transcripts[2].records
        assert gone[-1] == Stop("clean")
        sent = {record.mid for record in gone if isinstance(record, Submit) and ".s" not in record.mid}
        arrived = {record.mid for record in transcripts[0].records if isinstance(record, Delv)}
        assert sent <= arrived, f"{len(sent - arrived)} accepted messages were lost"


async def test_processes_that_are_started_one_by_one_and_leave_one_by_one(tmp_path: Path) -> None:
    async with open_processes(tmp_path, multicast_on_this_host()) as processes:
        ring: list[Any] = []
        for node in (1, 2, 3):
            ring += await processes.start(node)
            await processes.together(*ring)
            await processes.load(*ring)
        await processes.more_delivered(50, *ring)
        for _ in range(2):
            leaver = ring.pop(0)
            await leaver.leave()
            await processes.together(*ring)
        await processes.quiet(*ring)
        await processes.judge(*ring)


async def test_parent_that_goes_away_ends_the_process(tmp_path: Path) -> None:
    async with open_processes(tmp_path, unicast_on_this_host("127.0.0.1", 1)) as processes:
        (alone,) = await processes.start(1)
        assert alone.process.stdin is not None
        await alone.process.stdin.aclose()
        await alone.ended(0)
