"""Cancellation at every step of every call: what was not said to be done was not done, and nothing is done twice.

A task is cancelled after its first step, its second, and so on, until the call is over before the cancellation comes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from service_cluster import Cluster, Program, numbered, trio_alone, until

from ringproto import Config, Event, Guarantee, Message, Recovery, Ring, open_ring


class StepCanceller(trio.abc.Instrument):
    """Cancels a scope when the task that opened it has made so many steps more."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self._task = trio.lowlevel.current_task()
        self._steps = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._steps -= 1
            if self._steps == 0:
                self._scope.cancel()


@asynccontextmanager
async def cancelled_after(steps: int) -> AsyncIterator[trio.CancelScope]:
    """Its block is cancelled after so many steps of this task; 0: it is cancelled from the beginning."""
    with trio.CancelScope() as scope:
        if steps == 0:
            scope.cancel()
        canceller = StepCanceller(scope, steps)
        trio.lowlevel.add_instrument(canceller)
        try:
            yield scope
        finally:
            trio.lowlevel.remove_instrument(canceller)


async def every_step(attempt: Callable[[int], Awaitable[bool]], most: int = 400) -> int:
    """Call ``attempt(steps)`` with 0, 1, 2, ... until it was over before three times; returns how many were cut."""
    over = 0
    for steps in range(most):
        over = over + 1 if await attempt(steps) else 0
        if over == 3:
            return steps - 2
    raise AssertionError(f"after {most} steps the call is not over")


class Outcomes:
    """Which payloads a caller knows to be accepted, and which not."""

    def __init__(self) -> None:
        self.accepted: list[bytes] = []
        self.refused: list[bytes] = []


async def test_send_that_is_cancelled_at_any_step_is_sent_once_or_not_at_all(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    outcomes = Outcomes()

    async def attempt(steps: int) -> bool:
        payload = f"send.{steps}|".encode()
        async with cancelled_after(steps):
            await first.ring.high.send(payload)
            outcomes.accepted.append(payload)
            return True
        outcomes.refused.append(payload)
        return False

    assert await every_step(attempt) >= 1
    await settle_outcomes(cluster, outcomes, first, second)


async def settle_outcomes(cluster: Cluster, outcomes: Outcomes, *programs: Program) -> None:
    await cluster.delivered(outcomes.accepted, *programs)
    await trio.sleep(1.0)
    for program in programs:
        assert program.payloads == outcomes.accepted, "each accepted message once, in order, and no other"


async def full_program(cluster: Cluster) -> tuple[Program, Callable[[], None], Callable[[], Awaitable[None]]]:
    """A program with a queue of one. The first call takes the barrier away; the second puts it back by a change."""
    held = [trio.Event()]

    async def recover(recovery: Recovery) -> None:
        await held[0].wait()

    program = cluster.start(1, recover=recover, config=Config.testing(send_queue_max=1))
    await until(lambda: program._ring is not None, "it runs")
    await trio.sleep(0.5)

    async def hold() -> None:
        held[0] = trio.Event()
        peer = cluster.start(2, config=Config.testing(send_queue_max=1))
        await until(lambda: program.ring.configuration.members == (1, 2), "a peer came")
        await peer.stop()
        await until(lambda: program.ring.configuration.members == (1,), "and went")

    return program, lambda: held[0].set(), hold


@pytest.mark.parametrize("queue", ["full", "with room at that moment"])
async def test_send_that_waits_and_is_cancelled_at_any_step(cluster: Cluster, queue: str) -> None:
    """Cancellation meets the moment at which room comes, from before it to after it."""
    program, release, hold = await full_program(cluster)
    outcomes = Outcomes()

    async def attempt(steps: int) -> bool:
        await hold()
        filler = f"filler.{steps}|".encode()
        program.ring.high.send_nowait(filler)
        outcomes.accepted.append(filler)
        over = False

        async def send() -> None:
            nonlocal over
            payload = f"waits.{steps}|".encode()
            async with cancelled_after(steps):
                if queue == "full":
                    with trio.move_on_after(0.05):
                        await trio.sleep_forever()
                await program.ring.high.send(payload)
                outcomes.accepted.append(payload)
                over = True
                return
            outcomes.refused.append(payload)

        async def behind() -> None:
            await trio.sleep(0.01 if queue != "full" else 0.06)
            payload = f"behind.{steps}|".encode()
            await program.ring.high.send(payload)
            outcomes.accepted.append(payload)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(behind)
            await trio.sleep(0.1)
            release()
        return over

    await every_step(attempt)
    await settle_outcomes(cluster, outcomes, program)


@trio_alone
@pytest.mark.parametrize("checkpoints", range(12))
async def test_cancellation_around_the_moment_at_which_room_comes(cluster: Cluster, checkpoints: int) -> None:
    """So many turns of the scheduler after the barrier went away; the next in line must never sleep for ever."""
    program, release, hold = await full_program(cluster)
    outcomes = Outcomes()
    await hold()
    program.ring.low.send_nowait(b"filler|")
    outcomes.accepted.append(b"filler|")
    scope = trio.CancelScope()

    async def send(payload: bytes, scope: trio.CancelScope) -> None:
        with scope:
            await program.ring.low.send(payload)
            outcomes.accepted.append(payload)

    with trio.fail_after(20.0):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, b"perhaps|", scope)
            await trio.sleep(0.01)
            for payload in numbered("certainly", 3):
                nursery.start_soon(send, payload, trio.CancelScope())
                await trio.sleep(0.01)
            release()
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert set(numbered("certainly", 3)) <= set(outcomes.accepted)
    await settle_outcomes(cluster, outcomes, program)


async def test_batch_that_is_cancelled_at_any_step_was_accepted_up_to_a_point(cluster: Cluster) -> None:
    config = Config.testing(send_queue_max=3)
    first, second = await cluster.form(1, 2, config=config)
    batches: list[list[bytes]] = []
    whole: list[int] = []

    async def attempt(steps: int) -> bool:
        batch = numbered(f"batch{steps}", 12, 700)
        batches.append(batch)
        async with cancelled_after(steps):
            await first.ring.low.send_batch(batch)
            whole.append(steps)
            return True
        return False

    assert await every_step(attempt) >= 2
    await first.ring.low.send(b"the end|")
    await cluster.delivered([b"the end|"], first, second)
    assert first.payloads == second.payloads
    rest = first.payloads
    for number, batch in enumerate(batches):
        count = sum(payload in batch for payload in first.payloads)
        assert rest[:count] == batch[:count], "a prefix, once, in order"
        assert count == len(batch) or number not in whole
        rest = rest[count:]
    assert rest == [b"the end|"]


@pytest.mark.parametrize("how", ["receive", "receive_batch", "anext"])
async def test_receive_that_is_cancelled_at_any_step_loses_no_event(cluster: Cluster, how: str) -> None:
    got: list[Event] = []
    finished = trio.Event()

    async def body(ring: Ring) -> None:
        steps = 0
        while not (got and isinstance(got[-1], Message) and got[-1].payload == b"the end|"):
            steps += 1
            if steps % 6:
                async with cancelled_after(steps % 6 - 1):
                    if how == "receive":
                        got.append(await ring.events.receive())
                    elif how == "receive_batch":
                        got.extend(await ring.events.receive_batch(3))
                    else:
                        got.append(await ring.events.__anext__())
            else:
                with trio.move_on_after(0.0001 * (len(got) % 7)):
                    got.extend(await ring.events.receive_batch(2))
        finished.set()
        await trio.sleep_forever()

    reader = cluster.start(1, body=body)
    writer = cluster.start(2)
    await cluster.met(reader, writer)
    payloads = numbered("stream", 300)
    for payload in payloads:
        await writer.ring.high.send(payload)
        await trio.sleep(0.0007)
    await writer.ring.high.send(b"the end|")
    with trio.fail_after(30):
        await finished.wait()
    assert [event.payload for event in got if isinstance(event, Message)] == [*payloads, b"the end|"]
    await cluster.delivered([b"the end|"], writer)
    ring_id = writer.configurations[-1].ring_id
    place = next(number for number, event in enumerate(got) if event.ring_id == ring_id)
    assert got[place + 1 :] == writer.events_from(ring_id)[1:]


async def test_receive_of_completions_that_is_cancelled_loses_none(cluster: Cluster) -> None:
    seen = []

    async def body(ring: Ring) -> None:
        await ring.events.aclose()
        while True:
            for steps in range(4):
                async with cancelled_after(steps):
                    seen.append(await ring.recovery_complete.receive())
            with trio.move_on_after(0.0005):
                seen.append(await ring.recovery_complete.receive())

    watcher = cluster.start(1, body=body)
    steady = cluster.start(2)
    await cluster.settled_others(watcher, steady)
    for node in (3, 4, 5):
        guest = cluster.start(node)
        await until(lambda: len(steady.completions[-1].members) == 3, "the guest came")
        await guest.stop()
        await until(lambda: len(steady.completions[-1].members) == 2, "the guest went")
    await until(lambda: seen[-1] == steady.completions[-1], "the last completion came")
    known = [completion for completion in steady.completions if 1 in completion.members]
    assert [completion for completion in seen if 2 in completion.members] == known


async def test_recovery_send_that_is_cancelled_at_any_step_is_sent_once_or_not_at_all(cluster: Cluster) -> None:
    outcomes = Outcomes()

    async def recover(recovery: Recovery) -> None:
        if recovery.configuration.members != (1, 2):
            return

        async def attempt(steps: int) -> bool:
            payload = f"state.{steps}|".encode() + bytes(800)
            async with cancelled_after(steps):
                await recovery.send(payload, Guarantee.SAFE)
                outcomes.accepted.append(payload)
                return True
            outcomes.refused.append(payload)
            return False

        await every_step(attempt)
        for number in range(60):
            payload = f"timed.{number}|".encode() + bytes(800)
            with trio.move_on_after(0.00007 * (number % 13)):
                await recovery.send(payload)
                outcomes.accepted.append(payload)

    first = cluster.start(1, recover=recover, config=Config.testing(send_queue_max=1))
    second = cluster.start(2)
    await cluster.settled(first, second)
    assert outcomes.accepted
    for program in (first, second):
        assert program.payloads == outcomes.accepted


async def test_program_that_is_cancelled_at_any_step_of_its_life_leaves_nothing_behind(cluster: Cluster) -> None:
    """Entering, sending, reading, leaving: the transport is closed, no task is left, what was accepted is sent."""
    (peer,) = await cluster.form(9)
    accepted: list[bytes] = []
    cancelled_while: Counter[str] = Counter()

    async def attempt(steps: int) -> bool:
        tasks = trio.lowlevel.current_statistics().tasks_living
        began = trio.current_time()
        config = Config.testing()
        over = False
        doing = "entering"
        async with cancelled_after(steps):
            async with open_ring(
                cluster.network.open(1), driver=cluster.driver, config=config, audit=cluster.new_audit()
            ) as ring:
                doing = "coming together"
                while ring.configuration.members != (1, 9) or ring.waiting_for:
                    await ring.events.receive()
                doing = "sending"
                for payload in numbered(f"life{steps}", 3):
                    await ring.high.send(payload)
                    accepted.append(payload)
                doing = "reading"
                await ring.events.receive_batch()
            over = True
        if not over:
            cancelled_while[doing] += 1
        assert trio.current_time() - began < 2.0 + config.leave_timeout_s
        assert cluster.network.nodes == (9,), "the transport is closed"
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        return over

    assert await every_step(attempt) >= 8
    assert cancelled_while.keys() >= {"coming together", "sending", "reading"}, "each was cut short"
    await cluster.delivered(accepted, peer)
    assert sorted(peer.payloads) == sorted(accepted)
    assert peer.ring.statistics().get("token_losses", 0) == 0


async def test_cancellation_while_leaving_does_not_cut_it_short(cluster: Cluster) -> None:
    (peer,) = await cluster.form(9)
    payloads = numbered("last", 200, 300)

    async def leave() -> None:
        with trio.CancelScope() as scope:
            async with open_ring(
                cluster.network.open(1), driver=cluster.driver, config=Config.testing(), audit=cluster.new_audit()
            ) as ring:
                while ring.configuration.members != (1, 9) or ring.waiting_for:
                    await ring.events.receive()
                for payload in payloads:
                    ring.high.send_nowait(payload)
                scope.deadline = trio.current_time() + 0.002
                await ring.events.aclose()

    await leave()
    await cluster.delivered(payloads, peer)
    assert not math.isnan(trio.current_time())
