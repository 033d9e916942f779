"""A ring in the caller's nursery, on a transport of somebody's own, under the watch; and what it tells about itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import trio
from service_cluster import BaseExceptionGroup, Cluster, numbered, trio_alone, until

from ringproto import (
    Config,
    ConfigError,
    Message,
    Priority,
    Recovery,
    Ring,
    RingError,
    SlowConsumerError,
    open_ring,
    run_ring,
)
from ringproto.transports import LoopbackNetwork, Transport

# run_ring


async def test_run_ring_gives_the_ring_to_the_nursery_of_the_caller(cluster: Cluster) -> None:
    (peer,) = await cluster.form(2)
    async with trio.open_nursery() as nursery:
        ring = await nursery.start(
            partial(run_ring, cluster.network.open(1), driver=cluster.driver, config=Config.testing())
        )
        assert isinstance(ring, Ring)
        assert ring.configuration.members == (1,)
        await until(lambda: ring.configuration.members == (1, 2) and not ring.waiting_for, "it joined")
        await ring.high.send(b"hello|")
        await until(lambda: b"hello|" in peer.payloads, "it came")
        nursery.cancel_scope.cancel()
    await until(lambda: peer.ring.configuration.members == (2,), "it left")
    assert peer.ring.statistics().get("token_losses", 0) == 0
    cluster.drop_audit(peer.audit)


async def test_run_ring_takes_a_transport_alone() -> None:
    async with trio.open_nursery() as nursery:
        ring = await nursery.start(run_ring, LoopbackNetwork().open(1))
        assert ring.node == 1
        nursery.cancel_scope.cancel()


async def test_run_ring_that_cannot_start_says_so_at_the_start() -> None:
    transport = LoopbackNetwork().open(1)
    caught: list[BaseException] = []
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(partial(run_ring, transport, config=Config.testing(datagram_size=9999)))
        except BaseException as error:
            caught.append(error)
    assert isinstance(caught[0], ConfigError), repr(caught[0])


async def test_run_ring_that_fails_raises_in_the_nursery(cluster: Cluster) -> None:
    (peer,) = await cluster.form(2)
    cluster.drop_audit(peer.audit)
    seen: list[Any] = []

    async def read(ring: Ring) -> None:
        try:
            seen.extend([event async for event in ring.events])
        finally:
            seen.append("ended")

    async def recover(recovery: Recovery) -> None:
        if len(recovery.configuration.members) == 2:
            raise LookupError("no state")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            ring = await nursery.start(
                partial(
                    run_ring, cluster.network.open(1), driver=cluster.driver, config=Config.testing(), recover=recover
                )
            )
            nursery.start_soon(read, ring)
    assert [type(error) for error in caught.value.exceptions] == [LookupError], "once, and as it was raised"
    assert seen[-1] == "ended"


async def test_run_ring_that_is_cancelled_drains_for_a_reader_that_goes_on(cluster: Cluster) -> None:
    (peer,) = await cluster.form(2)
    cluster.drop_audit(peer.audit)
    scope = trio.CancelScope()
    payloads = numbered("drained", 100, 500)
    seen: list[bytes] = []

    async def host(task_status: trio.TaskStatus[Ring]) -> None:
        with scope:
            await run_ring(
                cluster.network.open(1), driver=cluster.driver, config=Config.testing(), task_status=task_status
            )

    async with trio.open_nursery() as nursery:
        ring = await nursery.start(host)
        await until(lambda: ring.configuration.members == (1, 2) and not ring.waiting_for, "it joined")
        for payload in payloads:
            ring.low.send_nowait(payload)
        scope.cancel()
        async for event in ring.events:
            if isinstance(event, Message):
                seen.append(event.payload)
    assert seen == payloads
    await cluster.delivered(payloads, peer)


# A transport of somebody's own


class Switchboard:
    """A network of the test's own: queues between processors, without anything of ``ringproto.transports``."""

    def __init__(self) -> None:
        self.ends: dict[int, Line] = {}


class Line:
    def __init__(self, board: Switchboard, node: int) -> None:
        self.node = node
        self.datagram_size_max = 1000
        self.largest = 0
        self.closed = 0
        self._board = board
        self._send, self._receive = trio.open_memory_channel[bytes](10_000)
        board.ends[node] = self

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        for destination, datagram in transmits:
            self.largest = max(self.largest, len(datagram))
            for node, end in self._board.ends.items():
                if node != self.node and destination in (0, node):
                    end._send.send_nowait(datagram)
        await trio.sleep(0.0001)

    async def receive(self) -> list[bytes]:
        return [await self._receive.receive()]

    async def aclose(self) -> None:
        self.closed += 1
        self._board.ends.pop(self.node, None)
        await trio.lowlevel.checkpoint()

    def statistics(self) -> dict[str, int]:
        return {"largest": self.largest}


@trio_alone
async def test_transport_from_outside_the_project_serves_a_ring(cluster: Cluster) -> None:
    board = Switchboard()
    lines = [Line(board, node) for node in (1, 2, 3)]
    assert all(isinstance(line, Transport) for line in lines)
    programs = [cluster.start(line.node, transport=line) for line in lines]
    await cluster.settled(*programs)
    payloads = [payload for node in (1, 2, 3) for payload in numbered(str(node), 30, 2000)]
    for program in programs:
        await program.ring.high.send_batch([p for p in payloads if p.startswith(b"%d." % program.node)])
    await cluster.delivered(payloads, *programs)
    assert programs[0].payloads == programs[1].payloads == programs[2].payloads
    assert programs[0].ring.statistics()["transport_largest"] == lines[0].largest <= 1000
    await programs[2].stop()
    await cluster.settled(*programs[:2])
    assert lines[2].closed == 1


@trio_alone
async def test_transport_is_never_in_two_sends_or_two_receives_at_once(cluster: Cluster) -> None:
    class Strict(Line):
        sending = receiving = False
        sends = 0

        async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
            assert not self.sending, "two sends at once"
            assert transmits, "an empty batch"
            assert all(0 < len(datagram) <= self.datagram_size_max for _, datagram in transmits)
            assert all(destination != self.node for destination, _ in transmits)
            self.sending = True
            self.sends += 1
            try:
                await super().send(transmits)
            finally:
                self.sending = False

        async def receive(self) -> list[bytes]:
            assert not self.receiving, "two receives at once"
            assert not self.closed
            self.receiving = True
            try:
                return await super().receive()
            finally:
                self.receiving = False

    board = Switchboard()
    lines = [Strict(board, node) for node in (1, 2)]
    programs = [cluster.start(line.node, transport=line) for line in lines]
    await cluster.settled(*programs)
    payloads = numbered("strict", 200, 300)

    async def send(share: list[bytes]) -> None:
        for payload in share:
            await programs[0].ring.low.send(payload)
            await trio.sleep(0.0003)

    async with trio.open_nursery() as nursery:
        for start in range(4):
            nursery.start_soon(send, payloads[start::4])
    await cluster.delivered(payloads, *programs)
    assert lines[0].sends


@trio_alone
async def test_what_is_to_be_sent_is_never_sent_in_a_cancelled_scope(cluster: Cluster) -> None:
    """A program sends between the arrival of datagrams and the moment at which the driver gets to run.

    The driver's wait is over then, and what cuts a wait short must not reach what comes after it.
    """

    class Between(Line):
        ring: Ring | None = None
        calls = sent = cut_short = 0

        async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
            self.cut_short += trio.current_effective_deadline() == -math.inf
            await super().send(transmits)

        async def receive(self) -> list[bytes]:
            batch = await super().receive()
            self.calls += 1
            if self.ring is not None and self.calls % 5 == 0:
                self.ring.high.send_nowait(f"between.{self.calls}|".encode())
                self.sent += 1
            return batch

    board = Switchboard()
    lines = [Between(board, node) for node in (1, 2, 3)]
    programs = [cluster.start(line.node, transport=line) for line in lines]
    await cluster.settled(*programs)
    lines[1].ring = programs[1].ring
    await trio.sleep(3.0)
    lines[1].ring = None
    await until(lambda: all(len(program.messages) == lines[1].sent for program in programs), "all came")
    assert lines[1].sent > 20
    assert [line.cut_short for line in lines] == [0, 0, 0]


class Slow(Line):
    """Each batch takes its time; ``begun`` and ``ended`` tell whether it was given it."""

    takes_s = 0.015
    begun = ended = 0

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        self.begun += 1
        await trio.sleep(self.takes_s)
        await super().send(transmits)
        self.ended += 1


@trio_alone
@pytest.mark.parametrize("takes_s", [0.015, 0.04], ids=["short", "longer than the join timeout"])
async def test_deadline_of_the_ring_neither_cuts_a_slow_send_short_nor_keeps_it_from_receiving(
    cluster: Cluster, takes_s: float
) -> None:
    board = Switchboard()
    lines = [Slow(board, node) for node in (1, 2)]
    for line in lines:
        line.takes_s = takes_s
    programs = [cluster.start(line.node, transport=line, config=Config.lan()) for line in lines]
    await cluster.settled(*programs)
    await programs[0].ring.high.send(b"slowly|")
    await cluster.delivered([b"slowly|"], *programs)
    await trio.sleep(3.0)
    for line in lines:
        assert line.begun - line.ended in (0, 1), "each send is finished before the next begins"


# The watch over the barrier


@trio_alone
async def test_overdue_barrier_is_reported_and_goes_on_waiting(cluster: Cluster) -> None:
    go = trio.Event()
    reports: list[tuple[float, frozenset[int]]] = []

    async def overdue(waiting_for: frozenset[int]) -> None:
        reports.append((trio.current_time(), waiting_for))

    async def recover(recovery: Recovery) -> None:
        await go.wait()

    watcher = cluster.start(1, recovery_overdue=overdue, config=Config.testing(recovery_deadline_s=2.0))
    blocker = cluster.start(2, recover=recover)
    await cluster.met(watcher, blocker)
    met = trio.current_time()
    await trio.sleep(10.0)
    assert [waiting_for for _, waiting_for in reports] == [frozenset({2})], "once"
    assert 1.9 <= reports[0][0] - met <= 2.1
    assert watcher.ring.waiting_for == {2}
    assert all(completion.members != (1, 2) for completion in watcher.completions), "it never counts as done"
    go.set()
    await cluster.settled(watcher, blocker)


@trio_alone
async def test_barrier_that_completes_in_time_is_not_reported(cluster: Cluster) -> None:
    reports: list[frozenset[int]] = []

    async def overdue(waiting_for: frozenset[int]) -> None:
        reports.append(waiting_for)

    async def recover(recovery: Recovery) -> None:
        await trio.sleep(0.5)

    config = Config.testing(recovery_deadline_s=2.0)
    await cluster.form(1, 2, config=config, recover=recover, recovery_overdue=overdue)
    await trio.sleep(10.0)
    assert reports == []


@trio_alone
async def test_every_configuration_has_a_deadline_of_its_own(cluster: Cluster) -> None:
    reports: list[frozenset[int]] = []

    async def overdue(waiting_for: frozenset[int]) -> None:
        reports.append(waiting_for)

    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    watcher = cluster.start(1, recovery_overdue=overdue, config=Config.testing(recovery_deadline_s=2.0))
    blocker = cluster.start(2, recover=never)
    await cluster.met(watcher, blocker)
    await trio.sleep(1.5)
    third = cluster.start(3, recover=never)
    await cluster.met(watcher, blocker, third)
    await trio.sleep(1.5)
    assert reports == [], "the first round ended before its deadline"
    await trio.sleep(1.0)
    assert reports == [frozenset({2, 3})]


async def test_own_recover_that_is_overdue_is_reported(cluster: Cluster) -> None:
    reports: list[frozenset[int]] = []

    async def overdue(waiting_for: frozenset[int]) -> None:
        reports.append(waiting_for)

    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    cluster.start(1, recover=never, recovery_overdue=overdue, config=Config.testing(recovery_deadline_s=1.0))
    await trio.sleep(5.0)
    assert reports == [frozenset({1})]


async def test_what_the_report_raises_leaves_open_ring_bare(cluster: Cluster) -> None:
    async def overdue(waiting_for: frozenset[int]) -> None:
        raise TimeoutError(f"still waiting for {sorted(waiting_for)}")

    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    config = Config.testing(recovery_deadline_s=1.0)
    program = cluster.start(1, recover=never, recovery_overdue=overdue, config=config)
    program.error_expected = True
    await program.end()
    assert type(program.error) is TimeoutError and "[1]" in str(program.error)


async def test_report_that_lasts_is_cancelled_by_a_new_configuration(cluster: Cluster) -> None:
    ended: list[str] = []

    async def overdue(waiting_for: frozenset[int]) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            ended.append("cancelled")
            raise

    async def never(recovery: Recovery) -> None:
        if len(recovery.configuration.members) < 3:
            await trio.sleep_forever()

    watcher = cluster.start(1, recovery_overdue=overdue, config=Config.testing(recovery_deadline_s=1.0))
    blocker = cluster.start(2, recover=never)
    await cluster.met(watcher, blocker)
    await trio.sleep(2.0)
    assert ended == []
    await cluster.settled(watcher, blocker, cluster.start(3))
    assert ended == ["cancelled"]


@trio_alone
async def test_without_a_deadline_nothing_is_reported(cluster: Cluster) -> None:
    async def overdue(waiting_for: frozenset[int]) -> None:
        raise AssertionError("there is no deadline")

    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    cluster.start(1, recover=never, recovery_overdue=overdue)
    await trio.sleep(100.0)


# What a ring tells about itself


async def test_statistics_have_what_the_issue_names(cluster: Cluster) -> None:
    cluster.network.loss = 0.05
    programs = await cluster.form(1, 2, 3)
    for program in programs:
        await program.ring.low.send_batch(numbered(str(program.node), 100, 500))
    await until(lambda: all(len(program.messages) == 300 for program in programs), "all came")
    for program in programs:
        numbers = program.ring.statistics()
        assert all(isinstance(name, str) and isinstance(value, (int, float)) for name, value in numbers.items())
        assert numbers["rotations"] > 0
        assert 0 < numbers["rotation_s"] < 1.0
        assert numbers["messages_delivered"] == 300
        for priority in Priority:
            name = priority.name.lower()
            assert numbers[f"queue_{name}"] == numbers[f"queue_{name}_bytes"] == numbers[f"senders_waiting_{name}"] == 0
        assert numbers["transport_datagrams_sent"] > 0
        assert numbers["transport_bytes_received"] > 0
        assert "events_waiting" in numbers and "retransmissions" in numbers
    assert sum(program.ring.statistics()["retransmissions"] for program in programs) > 0


@trio_alone
async def test_statistics_count_drops_by_reason(cluster: Cluster) -> None:
    first, _ = await cluster.form(1, 2)
    stranger = cluster.network.open(77)
    await stranger.send([(0, b"rubbish"), (0, bytes(100))])
    other = cluster.start(3, config=Config.testing(cluster="another"))
    await cluster.settled(other)
    await trio.sleep(0.5)
    numbers = first.ring.statistics()
    reasons = {name: value for name, value in numbers.items() if name.startswith("dropped_") and value}
    assert sum(reasons.values()) >= 3, reasons
    assert len(first.configurations) == 2


async def test_queue_lengths_are_told_while_something_waits(cluster: Cluster) -> None:
    async def never(recovery: Recovery) -> None:
        await recovery.send(b"state|")
        await trio.sleep_forever()

    program = cluster.start(1, recover=never, config=Config.testing(send_queue_max=3))
    await until(lambda: bool(program.messages), "the state came")
    for payload in numbered("h", 2, 50):
        program.ring.high.send_nowait(payload)
    program.ring.low.send_nowait(b"l|")
    numbers = program.ring.statistics()
    assert (numbers["queue_high"], numbers["queue_low"]) == (2, 1)
    assert numbers["queue_high_bytes"] == sum(map(len, numbered("h", 2, 50)))


async def test_unread_events_are_told(cluster: Cluster) -> None:
    silent = cluster.start(1, body=lambda ring: trio.sleep_forever())
    writer = cluster.start(2)
    await cluster.settled_others(silent, writer)
    await writer.ring.high.send_batch([b"12345"] * 10)
    await until(lambda: silent.ring.statistics()["messages_delivered"] == 10, "they came")
    numbers = silent.ring.statistics()
    assert numbers["events_waiting"] >= 10
    assert numbers["events_waiting_bytes"] == 50
    cluster.drop_audit(silent.audit)
    cluster.drop_audit(writer.audit)


async def test_statistics_never_fall_at_a_change_of_configuration(cluster: Cluster) -> None:
    first, second, third = await cluster.form(1, 2, 3)
    for program in (first, second, third):
        await program.ring.low.send_batch(numbered(str(program.node), 50, 500))
    await until(lambda: len(first.messages) == 150, "all came")
    before = first.ring.statistics()
    await third.stop()
    await cluster.settled(first, second)
    after = first.ring.statistics()
    for name in ("rotations", "packets_sent", "retransmissions", "messages_delivered", "tokens_sent", "configurations"):
        assert after[name] >= before[name], name


async def test_application_whose_handler_is_slow_once_in_a_while_keeps_its_place(cluster: Cluster) -> None:
    """It stops reading for less than the bound, again and again."""
    first, second = await cluster.form(1, 2, config=Config.testing(events_max=16, slow_consumer_timeout_s=1.0))
    payloads = numbered("burst", 200, 300)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.ring.high.send_batch, payloads)
        for _ in range(8):
            second.reading = trio.Event()
            await trio.sleep(0.6)
            second.reading.set()
            await trio.sleep(0.05)
    await cluster.delivered(payloads, first, second)
    assert second.payloads == payloads
    assert not isinstance(second.error, SlowConsumerError)
    assert len(second.configurations) == 2


async def test_ring_can_be_opened_again_on_the_same_network_after_an_error() -> None:
    network = LoopbackNetwork(latency_s=0.0001)
    for _ in range(3):
        with pytest.raises(RingError):
            async with open_ring(network.open(1), config=Config.testing()):
                raise RingError("on purpose")
    async with open_ring(network.open(1), config=Config.testing()) as ring:
        assert ring.node == 1
