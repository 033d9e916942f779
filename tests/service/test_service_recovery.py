"""``recover``: when it is called, with what, how it ends, and what the ring makes of each end."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
from service_cluster import BaseExceptionGroup, Cluster, Program, numbered, until

from ringproto import (
    Config,
    Event,
    Guarantee,
    Message,
    Priority,
    Recovery,
    RecoveryComplete,
    RegularConfiguration,
    Ring,
    RingError,
    RingId,
    open_ring,
)
from ringproto.transports import LoopbackNetwork

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Calls:
    """A ``recover`` that remembers its calls, and lasts as long as it is told to."""

    def __init__(self, *, held: bool = False) -> None:
        self.rounds: list[Recovery] = []
        self.cancelled: list[RingId] = []
        self.returned: list[RingId] = []
        self.active = 0
        self.most_active = 0
        self.go = trio.Event()
        if not held:
            self.go.set()

    async def __call__(self, recovery: Recovery) -> None:
        ring_id = recovery.configuration.ring_id
        self.rounds.append(recovery)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.cancelled.append(ring_id)
            raise
        finally:
            self.active -= 1
        self.returned.append(ring_id)

    @property
    def configurations(self) -> list[RegularConfiguration]:
        return [recovery.configuration for recovery in self.rounds]

    def members(self) -> tuple[int, ...]:
        """The members of the round of the last call."""
        return self.rounds[-1].configuration.members if self.rounds else ()


async def test_recover_is_called_once_for_every_regular_configuration(cluster: Cluster) -> None:
    calls = {node: Calls() for node in (1, 2, 3)}
    first, second = (cluster.start(node, recover=calls[node]) for node in (1, 2))
    await cluster.settled(first, second)
    third = cluster.start(3, recover=calls[3])
    await cluster.settled(first, second, third)
    await second.stop()
    await cluster.settled(first, third)
    await trio.sleep(1.0)
    for program in (first, third):
        assert calls[program.node].configurations == program.configurations
        assert calls[program.node].returned == [configuration.ring_id for configuration in program.configurations]


async def test_recover_is_told_who_came_with_this_processor(cluster: Cluster) -> None:
    calls = {node: Calls() for node in (1, 2, 3, 4)}
    programs = [cluster.start(node, recover=calls[node]) for node in (1, 2, 3)]
    await cluster.settled(*programs)
    fourth = cluster.start(4, recover=calls[4])
    await cluster.settled(*programs, fourth)
    for program in (*programs, fourth):
        rounds = calls[program.node].rounds
        assert [recovery.transitional for recovery in rounds[1:]] == program.transitionals
        assert rounds[0].transitional.members == (program.node,), "it came alone, from nowhere"
        assert rounds[0].transitional.ring_id == RingId(0, program.node, 0)
        assert rounds[-1].configuration.members == (1, 2, 3, 4)
    assert calls[1].rounds[-1].transitional.members == (1, 2, 3)
    assert calls[4].rounds[-1].transitional.members == (4,)


@pytest.mark.parametrize("batches", [False, True], ids=["one by one", "in batches"])
async def test_recover_waits_until_the_application_has_dealt_with_what_came_before(
    cluster: Cluster, batches: bool
) -> None:
    calls = Calls()
    at_work, done = trio.Event(), trio.Event()

    async def body(ring: Ring) -> None:
        while True:
            events: list[Event] = await ring.events.receive_batch() if batches else [await ring.events.receive()]
            if any(isinstance(event, Message) for event in events):
                at_work.set()
                await done.wait()

    worker = cluster.start(1, body=body, recover=calls)
    peer = cluster.start(2)
    await cluster.settled_others(worker, peer)
    await peer.ring.high.send(b"much work|")
    await at_work.wait()
    third = cluster.start(3)
    await until(lambda: worker.ring.configuration.members == (1, 2, 3), "the third joined")
    await trio.sleep(1.0)
    assert calls.members() == (1, 2), "recover must not see a state that lacks a message"
    assert 1 in peer.ring.waiting_for
    done.set()
    await cluster.settled(peer, third, others=[worker])
    assert calls.configurations[-1] == worker.ring.configuration


async def test_recover_waits_for_an_application_that_does_not_read(cluster: Cluster) -> None:
    calls = Calls()
    first = cluster.start(1, recover=calls)
    second = cluster.start(2)
    await cluster.settled(first, second)
    first.reading = trio.Event()
    await second.ring.high.send(b"wakes the reader once|")
    await cluster.delivered([b"wakes the reader once|"], first)
    await second.ring.high.send(b"unread|")
    await cluster.delivered([b"unread|"], second)
    third = cluster.start(3)
    await until(lambda: first.ring.configuration.members == (1, 2, 3), "the third joined")
    await trio.sleep(1.0)
    assert len(calls.rounds) < len(first.configurations) + 1
    assert calls.members() == (1, 2)
    first.reading.set()
    await cluster.settled(first, second, third)
    assert calls.members() == (1, 2, 3)


async def test_recover_does_not_wait_for_a_stream_that_was_closed(cluster: Cluster) -> None:
    calls = Calls()
    rings: list[Ring] = []

    async def body(ring: Ring) -> None:
        rings.append(ring)
        await ring.events.receive()
        await trio.sleep_forever()

    silent = cluster.start(1, body=body, recover=calls)
    peer = cluster.start(2)
    await cluster.met(silent, peer)
    await until(lambda: bool(peer.completions) and peer.completions[-1].members == (1, 2), "complete")
    await peer.ring.high.send(b"unread|")
    await cluster.delivered([b"unread|"], peer)
    third = cluster.start(3)
    await cluster.met(silent, peer, third)
    await trio.sleep(0.5)
    assert calls.members() == (1, 2)
    rings[0].events.close()
    await cluster.settled(peer, third, others=[silent])
    assert calls.members() == (1, 2, 3)


async def test_recover_does_not_wait_when_no_message_came_before(cluster: Cluster) -> None:
    calls = Calls()
    silent = cluster.start(1, body=lambda ring: trio.sleep_forever(), recover=calls)
    peer = cluster.start(2)
    await cluster.settled_others(silent, peer)
    assert calls.members() == (1, 2)


async def test_new_configuration_cancels_recover_and_starts_it_anew(cluster: Cluster) -> None:
    calls = Calls(held=True)
    first = cluster.start(1, recover=calls)
    second = cluster.start(2)
    await cluster.met(first, second)
    await until(lambda: calls.members() == (1, 2), "recover was called for the two")
    third = cluster.start(3)
    await until(lambda: calls.members() == (1, 2, 3), "recover was called for the three")
    assert calls.cancelled == [configuration.ring_id for configuration in calls.configurations[:-1]]
    assert calls.returned == []
    assert first.completions == [], "none of the rounds counts as done"
    assert {event.members for event in second.completions} <= {(2,)}
    calls.go.set()
    await cluster.settled(first, second, third)
    assert calls.returned == [first.configurations[-1].ring_id]


async def test_one_recover_has_ended_before_the_next_begins(cluster: Cluster) -> None:
    calls = Calls(held=True)
    first = cluster.start(1, recover=calls)
    for _ in range(12):
        other = cluster.start(2)
        await until(lambda: calls.members() == (1, 2), "recover was called for two")
        await other.stop()
        await until(lambda: calls.members() == (1,), "recover was called for one")
    assert len(calls.rounds) >= 24
    assert calls.most_active == 1
    await first.stop()


async def test_recover_that_cleans_up_with_care_is_awaited(cluster: Cluster) -> None:
    running = 0
    overlap = False
    configurations: list[RegularConfiguration] = []

    async def recover(recovery: Recovery) -> None:
        nonlocal running, overlap
        configurations.append(recovery.configuration)
        running += 1
        overlap = overlap or running > 1
        try:
            await trio.sleep(3600.0 if len(recovery.configuration.members) == 1 else 0.0)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
            running -= 1

    first = cluster.start(1, recover=recover)
    await until(lambda: bool(configurations), "recover was called")
    await cluster.settled(first, cluster.start(2))
    assert not overlap, "two calls of recover ran at the same time"


async def test_recover_with_a_nursery_of_its_own_survives_a_new_configuration(cluster: Cluster) -> None:
    seen: list[RegularConfiguration] = []

    async def recover(recovery: Recovery) -> None:
        seen.append(recovery.configuration)
        if len(recovery.configuration.members) < 3:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)

    first = cluster.start(1, recover=recover)
    second = cluster.start(2)
    await until(lambda: bool(seen) and seen[-1].members == (1, 2), "recover was called for the two")
    third = cluster.start(3)
    await cluster.settled(first, second, third)


async def test_nothing_is_complete_before_every_recover_returned(cluster: Cluster) -> None:
    calls = {node: Calls(held=True) for node in (1, 2, 3)}
    programs = [cluster.start(node, recover=calls[node]) for node in (1, 2, 3)]
    await until(
        lambda: all(call.members() == (1, 2, 3) for call in calls.values()),
        "all recover",
    )
    waiting = {1, 2, 3}
    for node in (2, 3, 1):
        await trio.sleep(0.5)
        assert all(program.ring.waiting_for == frozenset(waiting) for program in programs)
        assert all(not program.completions for program in programs)
        calls[node].go.set()
        waiting.discard(node)
        await until(lambda: all(program.ring.waiting_for == waiting for program in programs), "the unblock came")
    await cluster.settled(*programs)


async def test_recover_is_called_for_a_ring_of_one(cluster: Cluster) -> None:
    calls = Calls(held=True)
    alone = cluster.start(1, recover=calls)
    await alone_recovers(alone, calls)
    await alone.ring.high.send(b"waits|")
    await trio.sleep(0.5)
    assert alone.messages == []
    assert alone.ring.waiting_for == {1}
    calls.go.set()
    await cluster.delivered([b"waits|"], alone)
    kinds = [type(event) for event in alone.events]
    assert kinds[-2:] == [RecoveryComplete, Message]


async def alone_recovers(alone: Program, calls: Calls) -> None:
    await until(lambda: bool(calls.rounds) and alone._ring is not None, "recover was called")
    await trio.sleep(0.5)


async def test_high_and_low_wait_for_the_barrier_of_every_configuration(cluster: Cluster) -> None:
    calls = Calls(held=True)
    first = cluster.start(1, recover=calls)
    second = cluster.start(2)
    await until(lambda: calls.members() == (1, 2), "they met")
    payloads = numbered("early", 20)
    await second.ring.low.send_batch(payloads)
    third = cluster.start(3)
    await until(lambda: calls.members() == (1, 2, 3), "the third came")
    await trio.sleep(0.3)
    assert first.messages == second.messages == third.messages == []
    calls.go.set()
    await cluster.delivered(payloads, first, second, third)
    for program in (first, second, third):
        place = program.events.index(program.completions[-1])
        assert [m.payload for m in program.events[place + 1 :] if isinstance(m, Message)] == payloads
        assert program.payloads == payloads


async def test_recovery_messages_stand_between_the_configuration_and_its_completion(cluster: Cluster) -> None:
    async def recover(recovery: Recovery) -> None:
        if recovery.configuration.members == (1, 2):
            for number in range(30):
                await recovery.send(f"state.{number}|".encode(), Guarantee.SAFE if number % 2 else Guarantee.AGREED)

    first = cluster.start(1, recover=recover)
    second = cluster.start(2)
    await cluster.settled(first, second)
    for program in (first, second):
        ring_id = program.configurations[-1].ring_id
        stream = program.events_from(ring_id)
        assert isinstance(stream[-1], RecoveryComplete)
        messages = [event for event in stream if isinstance(event, Message)]
        assert [message.payload for message in messages] == [f"state.{number}|".encode() for number in range(30)]
        assert {message.priority for message in messages} == {Priority.RECOVERY}
        assert {message.ring_id for message in messages} == {ring_id}
        assert [message.guarantee for message in messages] == [Guarantee.AGREED, Guarantee.SAFE] * 15


async def test_more_recovery_messages_than_the_queue_holds(cluster: Cluster) -> None:
    count = 1000

    async def recover(recovery: Recovery) -> None:
        if recovery.configuration.members == (1, 2) and recovery.transitional.members == (1,):
            for payload in numbered("state", count, 100):
                await recovery.send(payload)

    first = cluster.start(1, recover=recover, config=Config.testing(send_queue_max=8))
    second = cluster.start(2)
    await cluster.settled(first, second, within_s=60)
    assert second.payloads == numbered("state", count, 100)


async def test_recovery_is_not_stopped_by_full_queues_of_high_and_low(cluster: Cluster) -> None:
    """B17: recovery has its own quota, and the unblock always has its place."""
    started = trio.Event()

    async def recover(recovery: Recovery) -> None:
        await started.wait()
        for payload in numbered(f"state{len(recovery.configuration.members)}", 20):
            await recovery.send(payload)

    config = Config.testing(send_queue_max=4)
    first = cluster.start(1, recover=recover, config=config)
    second = cluster.start(2, config=config)
    await cluster.met(first, second)
    for name, sender in (("high", first.ring.high), ("low", first.ring.low)):
        with pytest.raises(trio.WouldBlock):
            for payload in numbered(name, 5):
                sender.send_nowait(payload)
    started.set()
    await cluster.settled(first, second)


async def test_recovery_of_an_aborted_round_is_not_delivered_in_the_next(cluster: Cluster) -> None:
    async def recover(recovery: Recovery) -> None:
        members = "".join(map(str, recovery.configuration.members))
        for payload in numbered(f"state{members}.{recovery.configuration.ring_id}", 3):
            await recovery.send(payload)
        if len(recovery.configuration.members) < 3:
            await trio.sleep_forever()

    first = cluster.start(1, recover=recover)
    second = cluster.start(2)
    await cluster.met(first, second)
    await trio.sleep(0.2)
    third = cluster.start(3)
    await cluster.settled(first, second, third)
    for program in (first, second, third):
        for message in program.messages:
            assert message.payload.startswith(b"state") and str(message.ring_id).encode() in message.payload


async def test_recovery_send_after_its_round_is_an_error(cluster: Cluster) -> None:
    calls = Calls()
    first = cluster.start(1, recover=calls)
    second = cluster.start(2)
    await cluster.settled(first, second)
    for recovery in calls.rounds:
        with pytest.raises(RingError, match="over"):
            await recovery.send(b"too late|")
    await trio.sleep(0.5)
    assert second.messages == []
    await first.stop()
    with pytest.raises(RingError):
        await calls.rounds[-1].send(b"far too late|")


async def test_recovery_send_that_waits_for_room_ends_with_its_round(cluster: Cluster) -> None:
    """The task that sends need not be the one that the new configuration cancels."""
    rounds: list[Recovery] = []
    outcome: list[BaseException] = []

    async def recover(recovery: Recovery) -> None:
        rounds.append(recovery)
        await trio.sleep_forever()

    async def send(recovery: Recovery) -> None:
        try:
            for payload in numbered("more", 100, 200_000):
                await recovery.send(payload)
        except RingError as error:
            outcome.append(error)

    first = cluster.start(1, recover=recover, config=Config.testing(send_queue_max=1))
    second = cluster.start(2)
    await until(lambda: bool(rounds) and rounds[-1].configuration.members == (1, 2), "they met")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, rounds[-1])
        await trio.sleep(0.1)
        await second.stop()
        with trio.fail_after(10):
            while not outcome:
                await trio.sleep(0.01)
    await first.stop()


async def test_recovery_refuses_what_cannot_be_sent(cluster: Cluster) -> None:
    refused: list[str] = []

    async def recover(recovery: Recovery) -> None:
        refused.clear()
        for payload in ("text", bytearray(b"x"), None, bytes(2**20 + 1)):
            with pytest.raises((TypeError, ValueError)) as caught:
                await recovery.send(payload)  # type: ignore[arg-type]
            refused.append(str(caught.value))
        await recovery.send(f"good.{recovery.configuration.ring_id}|".encode())

    (alone,) = await cluster.form(1, recover=recover)
    await cluster.delivered([f"good.{alone.ring.configuration.ring_id}|".encode()], alone)
    assert len(refused) == 4
    assert all("bytes" in text for text in refused)


async def test_what_recover_raises_leaves_open_ring_bare(cluster: Cluster) -> None:
    error = LookupError("the snapshot is gone")

    async def recover(recovery: Recovery) -> None:
        if len(recovery.configuration.members) > 1:
            await trio.sleep(0.2)
            raise error

    second = cluster.start(2)
    await cluster.settled(second)
    first = cluster.start(1, recover=recover)
    first.error_expected = True
    await first.end()
    assert first.error is error
    await until(lambda: second.configurations[-1].left == (1,), "the other goes on alone")
    await cluster.settled(second)
    assert (1, 2) in [configuration.members for configuration in second.configurations]
    assert (1, 2) not in [completion.members for completion in second.completions], "it never unblocked"
    assert second.ring.statistics().get("token_losses", 0) == 0, "it left in an orderly way"


async def test_group_that_recover_raises_is_not_wrapped_again() -> None:
    group = ExceptionGroup("two things", [ValueError("one"), KeyError("two")])

    async def recover(recovery: Recovery) -> None:
        raise group

    with pytest.raises(ExceptionGroup) as caught:
        async with open_ring(LoopbackNetwork().open(1), config=Config.testing(), recover=recover):
            await trio.sleep_forever()
    assert caught.value is group


Inside = Callable[[Ring], Awaitable[None]]


async def _waits(ring: Ring) -> None:
    await trio.sleep_forever()


async def _reads(ring: Ring) -> None:
    async for _ in ring.events:
        pass


async def _has_tasks(ring: Ring) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reads, ring)
        nursery.start_soon(trio.sleep_forever)


async def _is_over(ring: Ring) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(0.5)


@pytest.mark.parametrize("inside", [_waits, _reads, _has_tasks, _is_over])
async def test_what_recover_raises_is_bare_whatever_the_body_does(inside: Inside) -> None:
    async def recover(recovery: Recovery) -> None:
        await trio.sleep(0.1)
        raise LookupError("the snapshot is gone")

    caught: BaseException | None = None
    try:
        async with open_ring(LoopbackNetwork().open(1), config=Config.testing(), recover=recover) as ring:
            await inside(ring)
    except BaseException as error:
        caught = error
    assert isinstance(caught, LookupError), repr(caught)


async def test_error_of_recover_is_not_lost_behind_an_error_of_the_body() -> None:
    async def recover(recovery: Recovery) -> None:
        raise LookupError("first")

    async def fails_while_it_is_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("second")

    caught: BaseException | None = None
    try:
        async with open_ring(LoopbackNetwork().open(1), config=Config.testing(), recover=recover):
            await fails_while_it_is_cancelled()
    except BaseException as error:
        caught = error
    chain = []
    while caught is not None:
        chain.append(type(caught))
        caught = caught.__cause__ or caught.__context__
    assert ValueError in chain, "the error of the body leaves"
    assert LookupError in chain, "and says what it happened in"


async def test_keyboard_interrupt_in_recover_leaves_open_ring_bare() -> None:
    async def recover(recovery: Recovery) -> None:
        raise KeyboardInterrupt

    caught: BaseException | None = None
    try:
        async with open_ring(LoopbackNetwork().open(1), config=Config.testing(), recover=recover):
            await trio.sleep_forever()
    except BaseException as error:
        caught = error
    assert type(caught) is KeyboardInterrupt


async def test_recover_that_is_no_async_function_is_told_so() -> None:
    def recover(recovery: Recovery) -> None:
        """Forgot the async."""

    with pytest.raises(TypeError, match="async"):
        async with open_ring(LoopbackNetwork().open(1), config=Config.testing(), recover=recover):  # type: ignore[arg-type]
            await trio.sleep_forever()


async def test_body_that_ends_while_recover_runs_cancels_it(cluster: Cluster) -> None:
    calls = Calls(held=True)

    async def body(ring: Ring) -> None:
        await trio.sleep(0.5)

    program = cluster.start(1, body=body, recover=calls)
    await program.end(within_s=5.0)
    assert calls.returned == []
    assert calls.active == 0
    assert not isinstance(program.error, BaseExceptionGroup)
