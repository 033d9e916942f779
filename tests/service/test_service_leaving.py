"""Leaving: closed, cancelled or in the middle of something, within a bound, and at no cost to the others."""

from __future__ import annotations

import math

import pytest
import trio
from service_cluster import Cluster, Program, numbered, trio_alone, until

from ringproto import (
    Config,
    Event,
    Guarantee,
    Message,
    Priority,
    Recovery,
    Ring,
    RingClosedError,
    RingError,
    open_ring,
)
from ringproto.transports import LoopbackNetwork, Transport

GRACE_S = 1.0
"""What leaving may take beyond ``leave_timeout_s``."""


def no_timeouts(*programs: Program) -> bool:
    return all(program.ring.statistics().get("token_losses", 0) == 0 for program in programs)


async def _returns(ring: Ring) -> None:
    await trio.sleep(1.0)


async def _raises(ring: Ring) -> None:
    await trio.sleep(1.0)
    raise ValueError("enough")


async def _is_cancelled(ring: Ring) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await trio.sleep(1.0)
    await trio.sleep(1.0)


@trio_alone
@pytest.mark.parametrize("body", [_returns, _raises, _is_cancelled, None], ids=["end", "error", "inner", "cancel"])
async def test_leaving_costs_the_others_no_timeout(cluster: Cluster, body: object) -> None:
    first, second = await cluster.form(1, 2)
    leaver = cluster.start(3, body=body)  # type: ignore[arg-type]
    leaver.error_expected = body is _raises
    await until(lambda: first.completions[-1].members == (1, 2, 3), "the third joined")
    if body is None:
        await leaver.stop()
    else:
        await leaver.end()
    gone = trio.current_time()
    await cluster.settled(first, second)
    assert trio.current_time() - gone < Config.testing().token_timeout_s, "they did not wait for a timeout"
    assert first.configurations[-1].left == (3,)
    assert no_timeouts(first, second)


async def test_what_was_accepted_is_sent_before_the_processor_leaves(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    payloads = numbered("last words", 250, 200)

    async def body(ring: Ring) -> None:
        for payload in payloads:
            ring.high.send_nowait(payload)

    leaver = cluster.start(3, body=body)
    await leaver.end()
    await cluster.delivered(payloads, first, second)
    assert first.payloads == payloads
    assert no_timeouts(first, second)


async def test_what_was_accepted_is_sent_even_when_cancelled(cluster: Cluster) -> None:
    programs = await cluster.form(1, 2)
    payloads = numbered("last words", 200, 200)
    for payload in payloads:
        programs[0].ring.low.send_nowait(payload)
    await programs[0].stop()
    await cluster.delivered(payloads, programs[1])


async def test_what_is_in_the_stream_of_who_leaves_can_be_read_to_its_end(cluster: Cluster) -> None:
    enough = trio.Event()
    reader = cluster.start(1, body=lambda ring: enough.wait())
    writer = cluster.start(2)
    await until(lambda: bool(writer.completions) and writer.completions[-1].members == (1, 2), "the ring formed")
    payloads = numbered("b", 30)
    await writer.ring.high.send_batch(payloads)
    await cluster.delivered(payloads, writer)
    await trio.sleep(0.5)
    enough.set()
    await reader.end()
    events = [event async for event in reader.ring.events]
    assert [event.payload for event in events if isinstance(event, Message)] == payloads


async def test_who_leaves_is_given_what_is_settled_at_others(cluster: Cluster) -> None:
    """They deliver it because it was acknowledged here; who reads the stream to its end has it, too."""
    for turn in range(6):
        await leave_while_another_writes(cluster, turn)


async def leave_while_another_writes(cluster: Cluster, turn: int) -> None:
    first, second = await cluster.form(1, 2)

    async def write() -> None:
        async with first.ring.sender(Priority.HIGH, Guarantee.SAFE) as sender:
            for number in range(2000):
                await sender.send(b"write%d.%d|" % (turn, number))
                await trio.sleep(0.0002)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await until(lambda: len(second.payloads) > 20, "it flows")
        await second.stop()
        nursery.cancel_scope.cancel()
    second.events += [event async for event in second.ring.events]
    together = second.configurations[-1].ring_id
    settled = {message.payload for message in first.messages if message.settled and message.ring_id == together}
    assert len(settled) > 10
    assert settled <= set(second.payloads)
    await first.stop()


async def test_safe_messages_that_were_accepted_are_delivered_when_the_processor_leaves(cluster: Cluster) -> None:
    from ringproto import Guarantee, Priority

    programs = await cluster.form(1, 2, 3)
    payloads = numbered("safe", 50)
    for payload in payloads:
        programs[0].ring.sender(Priority.HIGH, Guarantee.SAFE).send_nowait(payload)
    await programs[0].stop()
    await cluster.delivered(payloads, *programs[1:])


async def test_program_that_never_reads_still_leaves_nothing_unsent(cluster: Cluster) -> None:
    """Whoever leaves has nobody left to read its stream; what it accepted must not wait behind that."""
    (reader,) = await cluster.form(1)
    config = Config.testing(events_max=64)
    payloads = numbered("unread", 250, 1200)

    async def body(ring: Ring) -> None:
        await until(lambda: ring.configuration.members == (1, 2) and not ring.waiting_for, "joined")
        for payload in payloads[:100]:
            await ring.high.send(payload)
        for payload in payloads[100:]:
            ring.high.send_nowait(payload)

    writer = cluster.start(2, body=body, config=config)
    await writer.end()
    await cluster.delivered(payloads, reader)


async def test_leaving_is_bounded_when_the_barrier_never_completes(cluster: Cluster) -> None:
    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    first = cluster.start(1)
    second = cluster.start(2, recover=never)
    await cluster.met(first, second)
    await first.ring.high.send_batch(numbered("stuck", 10))
    began = trio.current_time()
    await first.stop()
    assert trio.current_time() - began <= Config.testing().leave_timeout_s + GRACE_S
    assert no_timeouts(second)


@pytest.mark.parametrize("body_s", [0.0, 0.0005, 0.002, 0.005, 0.01, 0.05, 0.1])
async def test_recover_that_sends_while_its_program_ends_is_no_error(cluster: Cluster, body_s: float) -> None:
    """The body may end before, in and after any call of ``recover``; that is nobody's fault."""
    (peer,) = await cluster.form(2)

    async def recover(recovery: Recovery) -> None:
        for number in range(8):
            await recovery.send(f"1.{recovery.configuration.ring_id}.{number}|".encode())
            await trio.sleep(0.002)

    async def body(ring: Ring) -> None:
        if body_s:
            await trio.sleep(body_s)

    program = cluster.start(1, recover=recover, body=body)
    await program.end()
    assert program.error is None, repr(program.error)
    await until(lambda: peer.ring.configuration.members == (2,), "it left")


async def test_program_that_ends_while_it_recovers_still_sends_what_it_accepted(cluster: Cluster) -> None:
    (peer,) = await cluster.form(2)
    payloads = numbered("accepted", 20)

    async def recover(recovery: Recovery) -> None:
        for number in range(5):
            await recovery.send(f"1.{recovery.configuration.ring_id}.{number}|".encode())
            await trio.sleep(0.01)

    async def body(ring: Ring) -> None:
        await until(lambda: ring.configuration.members == (1, 2), "they met")
        await ring.high.send_batch(payloads)

    program = cluster.start(1, recover=recover, body=body)
    await program.end()
    assert program.error is None, repr(program.error)
    await cluster.delivered(payloads, peer)


async def test_leaving_is_bounded_without_a_quorum(cluster: Cluster) -> None:
    config = Config.testing(quorum=2)
    alone = cluster.start(1, config=config)
    await until(lambda: alone._ring is not None, "it runs")
    await alone.ring.high.send(b"nobody|")
    began = trio.current_time()
    await alone.stop()
    assert trio.current_time() - began <= config.leave_timeout_s + GRACE_S


@trio_alone
@pytest.mark.parametrize("held", [False, True], ids=["returns", "lasts"])
async def test_new_configuration_while_leaving_does_not_keep_the_processor(cluster: Cluster, held: bool) -> None:
    """Its body has ended, so nobody reads any more; a round that begins now must not be waited for."""

    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    over = False

    async def recover(recovery: Recovery) -> None:
        if held and over:
            await trio.sleep_forever()

    async def body(ring: Ring) -> None:
        nonlocal over
        await until(lambda: ring.configuration.members == (1, 2), "they met")
        await trio.sleep(0.1)
        await ring.high.send(b"keeps it here until the barrier|")
        over = True

    leaver = cluster.start(1, recover=recover, body=body, config=Config.testing(leave_timeout_s=5.0))
    blocker = cluster.start(2, recover=never)
    await cluster.met(leaver, blocker)
    await trio.sleep(0.2)
    blocker.crash()
    await leaver.end(within_s=10.0)


async def test_new_configuration_with_unread_messages_while_leaving_does_not_keep_it(cluster: Cluster) -> None:
    async def recover(recovery: Recovery) -> None:
        await trio.lowlevel.checkpoint()

    async def body(ring: Ring) -> None:
        await until(lambda: ring.configuration.members == (1, 2) and not ring.waiting_for, "they met")
        await trio.sleep(0.2)
        cluster.network.partition({1}, {2})
        await ring.high.send_batch(numbered("in the dark", 20))

    leaver = cluster.start(1, recover=recover, body=body, config=Config.testing(leave_timeout_s=5.0))
    other = cluster.start(2)
    await cluster.met(leaver, other)
    await other.ring.high.send(b"unread|")
    await leaver.end(within_s=10.0)


async def test_overdue_watch_does_not_keep_a_processor_that_leaves(cluster: Cluster) -> None:
    async def overdue(waiting_for: frozenset[int]) -> None:
        raise AssertionError("not after the end")

    async def body(ring: Ring) -> None:
        await until(lambda: ring.configuration.members == (1, 2), "they met")
        await trio.sleep(0.1)
        await ring.high.send(b"keeps it here until the barrier|")

    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    config = Config.testing(recovery_deadline_s=1000.0, leave_timeout_s=2.0)
    leaver = cluster.start(1, recovery_overdue=overdue, body=body, config=config)
    blocker = cluster.start(2, recover=never)
    await cluster.met(leaver, blocker)
    await trio.sleep(0.2)
    blocker.crash()
    began = trio.current_time()
    await leaver.end(within_s=2000.0)
    assert trio.current_time() - began <= config.leave_timeout_s + GRACE_S


class StuckTransport:
    """The network takes nothing any more; ``send`` waits until it is cancelled."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.node = inner.node
        self.datagram_size_max = inner.datagram_size_max
        self.stuck = False
        self.closed = 0

    async def send(self, transmits: object) -> None:
        if self.stuck:
            await trio.sleep_forever()
        await self.inner.send(transmits)  # type: ignore[arg-type]

    async def receive(self) -> list[bytes]:
        return await self.inner.receive()

    async def aclose(self) -> None:
        self.closed += 1
        await self.inner.aclose()

    def statistics(self) -> dict[str, int]:
        return self.inner.statistics()


@trio_alone
async def test_leaving_is_bounded_when_the_transport_hangs(cluster: Cluster) -> None:
    transport = StuckTransport(cluster.network.open(1))
    first = cluster.start(1, transport=transport)
    second = cluster.start(2)
    await cluster.settled(first, second)
    transport.stuck = True
    await trio.sleep(0.05)
    began = trio.current_time()
    await first.stop()
    assert trio.current_time() - began <= Config.testing().leave_timeout_s + GRACE_S
    assert transport.closed == 1


async def test_leaving_at_once_is_possible(cluster: Cluster) -> None:
    (other,) = await cluster.form(2)
    for _ in range(5):
        began = trio.current_time()
        async with open_ring(
            cluster.network.open(1), driver=cluster.driver, config=Config.testing(), audit=cluster.new_audit()
        ):
            pass
        assert trio.current_time() - began <= Config.testing().leave_timeout_s
        await trio.sleep(0.3)
    assert no_timeouts(other)
    await cluster.settled(other)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.004, 0.007, 0.01, 0.03, 0.06, 0.065, 0.07, 0.1])
async def test_leaving_in_any_state_of_formation(cluster: Cluster, after_s: float) -> None:
    first, second = await cluster.form(1, 2)
    began = trio.current_time()
    with trio.move_on_after(after_s):
        async with open_ring(
            cluster.network.open(3), driver=cluster.driver, config=Config.testing(), audit=cluster.new_audit()
        ):
            await trio.sleep_forever()
    assert trio.current_time() - began <= after_s + Config.testing().leave_timeout_s
    await trio.sleep(0.5)
    await cluster.settled(first, second)
    assert first.configurations[-1].members == (1, 2)


async def test_transport_is_closed_at_the_end(cluster: Cluster) -> None:
    transport = cluster.network.open(1)
    async with open_ring(transport, driver=cluster.driver, config=Config.testing()):
        await trio.sleep(0.1)
    with pytest.raises(trio.ClosedResourceError):
        await transport.receive()
    cluster.network.open(1)


async def test_no_task_is_left_behind() -> None:
    network = LoopbackNetwork(latency_s=0.0001)
    before = trio.lowlevel.current_statistics().tasks_living

    async def recover(recovery: Recovery) -> None:
        await trio.sleep(0.01)

    for _ in range(3):
        async with (
            open_ring(network.open(1), config=Config.testing(), recover=recover),
            open_ring(network.open(2), config=Config.testing(recovery_deadline_s=100.0)),
        ):
            await trio.sleep(1.0)
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_every_task_lives_in_a_nursery_of_the_caller() -> None:
    task = trio.lowlevel.current_task()
    nurseries = len(task.child_nurseries)
    async with open_ring(LoopbackNetwork().open(1), config=Config.testing()):
        await trio.sleep(0.1)
        assert len(task.child_nurseries) == nurseries + 1
        assert task.child_nurseries[-1].child_tasks
    assert len(task.child_nurseries) == nurseries


async def test_everything_says_that_the_ring_was_left(cluster: Cluster) -> None:
    rounds: list[Recovery] = []

    async def recover(recovery: Recovery) -> None:
        rounds.append(recovery)

    async with open_ring(
        cluster.network.open(1),
        driver=cluster.driver,
        config=Config.testing(),
        audit=cluster.new_audit(),
        recover=recover,
    ) as ring:
        await trio.sleep(0.5)
    safe = ring.sender(1, 1)  # type: ignore[arg-type]
    for sender in (ring.high, ring.low, safe):
        with pytest.raises(RingClosedError, match="open_ring"):
            await sender.send(b"late")
        with pytest.raises(RingClosedError, match="open_ring"):
            sender.send_nowait(b"late")
        with pytest.raises(RingClosedError, match="open_ring"):
            await sender.send_batch([b"late", b"later"])
    with pytest.raises(RingError):
        await rounds[-1].send(b"late")
    assert issubclass(RingClosedError, trio.ClosedResourceError)
    rest = [event async for event in ring.events]
    assert not any(isinstance(event, Message) for event in rest)
    assert ring.statistics()["messages_delivered"] == 0
    assert ring.configuration.members == (1,)
    assert ring.node == 1
    repr(ring)


async def test_send_while_the_processor_is_leaving_is_a_closed_resource(cluster: Cluster) -> None:
    """A task outside may send while the ring is being left; it is told what every trio program knows."""

    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    first = cluster.start(1)
    second = cluster.start(2, recover=never)
    await cluster.met(first, second)
    await first.ring.high.send(b"keeps it here|")
    outcome: list[BaseException] = []

    async def send() -> None:
        try:
            for number in range(100):
                await first.ring.high.send(f"{number}|".encode())
                await trio.sleep(0.01)
        except Exception as error:
            outcome.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(0.1)
        await first.stop()
    assert isinstance(outcome[0], trio.ClosedResourceError), repr(outcome[0])
    assert isinstance(outcome[0], RingError)


async def test_senders_that_wait_are_told_when_the_ring_is_left(cluster: Cluster) -> None:
    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    first = cluster.start(1, recover=never, config=Config.testing(send_queue_max=2))
    await until(lambda: first._ring is not None, "it runs")
    outcome: list[BaseException] = []

    async def send(number: int) -> None:
        try:
            await first.ring.low.send(f"{number}|".encode())
        except Exception as error:
            outcome.append(error)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(send, number)
        await trio.sleep(0.5)
        assert first.ring.statistics()["senders_waiting_low"] == 4
        await first.stop()
    assert len(outcome) == 4
    assert all(isinstance(error, trio.ClosedResourceError) for error in outcome), outcome


async def test_reader_outside_reads_to_the_end(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    seen: list[Event] = []

    async def read(ring: Ring) -> None:
        seen.extend([event async for event in ring.events])

    third = cluster.start(3, body=lambda ring: trio.sleep_forever())
    await until(lambda: third._ring is not None, "it runs")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, third.ring)
        await until(lambda: first.completions[-1].members == (1, 2, 3), "it joined")
        payloads = numbered("own", 30)
        await third.ring.high.send_batch(payloads)
        await third.stop()
    assert [event.payload for event in seen if isinstance(event, Message)] == payloads, "self-delivery, even at the end"
    await cluster.delivered(payloads, first, second)


@pytest.mark.parametrize("recovers", [False, True], ids=["in the body", "while recover runs"])
async def test_cancellation_from_outside_leaves_open_ring_bare(cluster: Cluster, recovers: bool) -> None:
    """Also where several tasks are cancelled with the body."""
    kinds: list[type[BaseException]] = []
    runs = trio.Event()

    async def recover(recovery: Recovery) -> None:
        runs.set()
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        try:
            async with open_ring(
                cluster.network.open(1),
                driver=cluster.driver,
                config=Config.testing(),
                audit=cluster.new_audit(),
                recover=recover if recovers else None,
            ):
                if recovers:
                    await runs.wait()
                scope.cancel()
                await trio.sleep_forever()
        except BaseException as error:
            kinds.append(type(error))
            raise
    assert scope.cancelled_caught
    assert kinds == [trio.Cancelled]


async def test_ring_that_is_opened_in_a_cancelled_scope_leaves_at_its_first_checkpoint(cluster: Cluster) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_ring(
            cluster.network.open(1), driver=cluster.driver, config=Config.testing(), audit=cluster.new_audit()
        ) as ring:
            await ring.high.send(b"never accepted|")
    assert scope.cancelled_caught
    assert cluster.network.nodes == ()


async def test_leave_timeout_of_zero_leaves_at_once(cluster: Cluster) -> None:
    config = Config.testing(leave_timeout_s=0.0, quorum=2)
    program = cluster.start(1, config=config)
    await until(lambda: program._ring is not None, "it runs")
    await program.ring.high.send(b"dropped|")
    began = trio.current_time()
    await program.stop()
    assert trio.current_time() - began < 0.05
    assert not math.isinf(trio.current_time())


async def test_cancelled_while_recover_runs_it_does_not_wait_for_what_only_its_unblock_would_let_go(
    cluster: Cluster,
) -> None:
    async def never(recovery: Recovery) -> None:
        await trio.sleep_forever()

    program = cluster.start(1, recover=never, config=Config.testing(leave_timeout_s=50.0))
    await cluster.met(program)
    await program.ring.high.send(b"1.1|")
    await program.stop(within_s=10.0)
