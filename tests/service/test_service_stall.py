"""A program that keeps trio's loop busy: with the driver that is a thread, its processors stay on the ring.

All programs of these tests share one loop, and so they are all away at once; what goes on then is done by threads.
Nothing here asserts how long something took: what was kept and what came is what counts.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
import trio
from service_cluster import Cluster, Program, numbered, thread_alone, trio_alone, until

from ringproto import Config, Message, RegularConfiguration, Ring, RingError, open_ring
from ringproto.transports import LoopbackNetwork, open_unicast_udp

CONFIG = Config.testing(token_timeout_s=0.5, fail_to_receive_s=1.0)
STALL_S = 1.5
"""Three times the token timeout."""


def sleeps(until_s: float) -> None:
    """Python's lock is free."""
    time.sleep(max(0.0, until_s - time.monotonic()))


def computes(until_s: float) -> None:
    """Python's lock is asked for, and let go each few milliseconds."""
    number = 1
    while time.monotonic() < until_s:
        for _ in range(1000):
            number = number * 31 % 1_000_003


stalls = pytest.mark.parametrize("stall", [sleeps, computes])
Stall = Callable[[float], None]


def rotations(program: Program) -> float:
    return program.ring.statistics()["rotations"]


@stalls
@thread_alone
async def test_processors_stay_together_while_their_programs_are_away(cluster: Cluster, stall: Stall) -> None:
    programs = await cluster.form(1, 2, 3, config=CONFIG)
    before = programs[0].ring.configuration.ring_id
    turned = [rotations(program) for program in programs]
    stall(time.monotonic() + STALL_S)
    # Nobody has run since, but the threads.
    assert all(rotations(program) > count for program, count in zip(programs, turned, strict=True))
    await programs[0].ring.high.send(b"back|")
    await cluster.delivered([b"back|"], *programs)
    for program in programs:
        assert program.ring.configuration.ring_id == before
        assert program.ring.statistics().get("token_losses", 0) == 0


@thread_alone
async def test_messages_accepted_before_the_stall_are_delivered_in_it(cluster: Cluster) -> None:
    programs = await cluster.form(1, 2, config=CONFIG)
    payloads = numbered("before", 100)
    programs[0].reading = programs[1].reading = trio.Event()  # as if the applications were away already
    await programs[0].ring.low.send_batch(payloads)
    sleeps(time.monotonic() + STALL_S)
    for program in programs:
        assert program.ring.statistics()["messages_delivered"] >= len(payloads)
    programs[0].reading.set()
    await cluster.delivered(payloads, *programs)
    assert all(program.payloads == payloads for program in programs)


@thread_alone
async def test_ring_that_forms_while_the_program_is_away_has_its_barrier_up(cluster: Cluster) -> None:
    """Without ``recover``, the unblock needs nobody on trio's thread."""
    cluster.network.partition({1}, {2})
    first, second = cluster.start(1, config=CONFIG), cluster.start(2, config=CONFIG)
    await cluster.settled(first)
    await cluster.settled(second)
    cluster.network.heal()
    sleeps(time.monotonic() + STALL_S)
    for program in (first, second):
        assert program.ring._driver.configuration.members == (1, 2)
        assert program.ring.waiting_for == frozenset()
    await cluster.settled(first, second)


@stalls
@pytest.mark.real_time
async def test_of_two_drivers_the_thread_keeps_its_place_and_the_task_loses_it(stall: Stall) -> None:
    """Those that threads drive go on without the one that is a task."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    peers = {node: each.getsockname() for node, each in enumerate(sockets, start=1)}
    for each in sockets:
        each.close()
    rings: dict[int, Ring] = {}
    seen: dict[int, list[RegularConfiguration]] = {node: [] for node in peers}

    async def program(node: int) -> None:
        driver = "trio" if node == 3 else "thread"
        transport = await open_unicast_udp(node, peers)
        async with open_ring(transport, config=CONFIG, driver=driver) as ring:
            rings[node] = ring
            async for event in ring.events:
                if isinstance(event, RegularConfiguration):
                    seen[node].append(event)

    def together() -> bool:
        return len(rings) == 3 and all(
            ring.configuration.members == (1, 2, 3) and not ring.waiting_for for ring in rings.values()
        )

    async with trio.open_nursery() as nursery:
        for node in peers:
            nursery.start_soon(program, node)
        await until(together, "three are one ring")
        before = rings[1].configuration.ring_id
        stall(time.monotonic() + STALL_S)
        await until(lambda: rings[1].configuration.ring_id != before and together(), "they are together again")
        nursery.cancel_scope.cancel()
    for node in (1, 2):
        ids = [configuration.ring_id for configuration in seen[node]]
        assert seen[node][ids.index(before) + 1].members == (1, 2)


@thread_alone
async def test_ring_is_slowed_down_to_the_bound_of_who_is_away(cluster: Cluster) -> None:
    """A program in another thread floods one that is away, whose stream fills up to its bound; then the ring waits."""
    events_max = 200
    config = CONFIG.replace(events_max=events_max, slow_consumer_timeout_s=60.0)
    away = cluster.start(1, config=config)
    payloads = numbered("flood", 4000)
    accepted = 0
    left = threading.Event()
    failures: list[BaseException] = []

    async def flood() -> None:
        nonlocal accepted
        transport = cluster.network.open(2)
        async with open_ring(transport, config=config, driver="thread", audit=cluster.new_audit()) as ring:
            while ring.configuration.members != (1, 2) or ring.waiting_for:
                await ring.events.receive()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_all, ring, nursery.cancel_scope)
                for payload in payloads:
                    await ring.low.send(payload)
                    accepted += 1

    async def read_all(ring: Ring, scope: trio.CancelScope) -> None:
        count = 0
        while count < len(payloads):
            count += sum(isinstance(event, Message) for event in await ring.events.receive_batch())
        scope.cancel()

    def other() -> None:
        try:
            trio.run(flood)
        except BaseException as error:
            failures.append(error)
        left.set()

    thread = threading.Thread(target=other)
    thread.start()
    await until(lambda: away._ring is not None and away.ring.configuration.members == (1, 2), "they met")
    deadline = time.monotonic() + 20.0
    while away.ring.statistics()["events_waiting"] < events_max and time.monotonic() < deadline:
        sleeps(time.monotonic() + 0.05)
    sleeps(time.monotonic() + STALL_S)
    waiting = away.ring.statistics()["events_waiting"]
    assert events_max <= waiting < events_max + 200, "one packet may go over the bound"
    stopped_at = accepted
    assert stopped_at < len(payloads)
    sleeps(time.monotonic() + 0.3)
    assert accepted == stopped_at, "nothing more is accepted until somebody reads"
    await cluster.delivered(payloads, away)
    await until(left.is_set, "the other program came to its end")
    thread.join()
    assert failures == []
    assert [configuration.members for configuration in away.configurations[:2]] == [(1,), (1, 2)]
    assert away.payloads == payloads


@thread_alone
async def test_who_is_away_for_too_long_leaves_as_a_slow_consumer(cluster: Cluster) -> None:
    config = CONFIG.replace(events_max=10, slow_consumer_timeout_s=0.5)
    away = cluster.start(1, config=config)
    await cluster.settled(away)
    away.error_expected = True
    for payload in numbered("alone", 50):
        away.ring.low.send_nowait(payload)
    sleeps(time.monotonic() + STALL_S)
    await away.end()
    assert isinstance(away.error, RingError)
    assert type(away.error).__name__ == "SlowConsumerError"


@trio_alone
async def test_transport_that_no_thread_can_use_is_refused(cluster: Cluster) -> None:
    transport = LoopbackNetwork().open(1)
    with pytest.raises(ValueError, match="LoopbackTransport cannot be used by a thread") as caught:
        async with open_ring(transport, driver="thread"):
            raise AssertionError("it was opened")
    assert "driver='trio'" in str(caught.value)
    async with open_ring(transport, config=Config.testing(), driver=cluster.driver) as ring:  # type: ignore[arg-type]
        assert isinstance(await ring.events.receive(), RegularConfiguration)


@trio_alone
@pytest.mark.parametrize("wrong", ["asyncio", None, 3])
async def test_driver_that_is_not_there_is_refused(cluster: Cluster, wrong: object) -> None:
    transport = cluster.network.open(1)
    with pytest.raises(ValueError, match="'trio' or 'thread'"):
        async with open_ring(transport, driver=wrong):  # type: ignore[arg-type]
            raise AssertionError("it was opened")
