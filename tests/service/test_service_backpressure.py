"""Full queues: who waits, in which order, and what a call that does not wait says."""

from __future__ import annotations

import pytest
import trio
from service_cluster import Cluster, Program, numbered, trio_alone, until
from trio.testing import assert_checkpoints

from ringproto import Config, Guarantee, Priority, Recovery

QUEUE_MAX = 4


async def blocked_program(cluster: Cluster, **changes: int) -> tuple[Program, trio.Event]:
    """A program whose barrier is down until the event is set, so that nothing leaves its queues of four."""
    go = trio.Event()

    async def recover(recovery: Recovery) -> None:
        await go.wait()

    program = cluster.start(1, recover=recover, config=Config.testing(send_queue_max=QUEUE_MAX, **changes))
    await until(lambda: program._ring is not None, "it runs")
    await trio.sleep(0.5)
    return program, go


async def test_send_nowait_says_would_block_when_the_queue_is_full(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster)
    payloads = numbered("fits", QUEUE_MAX)
    for payload in payloads:
        program.ring.high.send_nowait(payload)
    with pytest.raises(trio.WouldBlock):
        program.ring.high.send_nowait(b"does not fit|")
    program.ring.low.send_nowait(b"has its own queue|")
    go.set()
    await cluster.delivered([*payloads, b"has its own queue|"], program)
    assert b"does not fit|" not in program.payloads
    program.ring.high.send_nowait(b"now it does|")
    await cluster.delivered([b"now it does|"], program)


async def test_send_waits_while_the_queue_is_full(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster)
    for payload in numbered("fits", QUEUE_MAX):
        with trio.fail_after(0.1):
            await program.ring.high.send(payload)
    with trio.move_on_after(5.0) as scope:
        await program.ring.high.send(b"waits in vain|")
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.ring.high.send, b"waits with success|")
        await trio.sleep(1.0)
        go.set()
    await cluster.delivered([b"waits with success|"], program)
    assert b"waits in vain|" not in program.payloads


async def test_queue_is_bounded_in_bytes_but_an_empty_one_takes_any_message(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster, send_queue_bytes_max=1000)
    program.ring.high.send_nowait(b"large|" + bytes(5000))
    with pytest.raises(trio.WouldBlock):
        program.ring.high.send_nowait(b"small|")
    program.ring.low.send_nowait(b"a|" + bytes(700))
    with pytest.raises(trio.WouldBlock):
        program.ring.low.send_nowait(b"b|" + bytes(700))
    program.ring.low.send_nowait(b"c|" + bytes(100))
    go.set()
    await until(lambda: len(program.messages) == 3, "the three came")


async def test_waiting_senders_go_first_come_first_served(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster)
    first = numbered("queued", QUEUE_MAX)
    waiting = numbered("waiting", 40)
    for payload in first:
        program.ring.high.send_nowait(payload)
    async with trio.open_nursery() as nursery:
        for number, payload in enumerate(waiting):
            sender = program.ring.sender(Priority.HIGH, Guarantee(number % 2))
            if number % 5 == 4:
                nursery.start_soon(sender.send_batch, [payload])
            else:
                nursery.start_soon(sender.send, payload)
            await trio.sleep(0.001)
        assert program.ring.statistics()["senders_waiting_high"] == 40
        go.set()
    await cluster.delivered(waiting, program)
    assert program.payloads == first + waiting


async def test_send_nowait_does_not_overtake_those_who_wait(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster)
    for payload in numbered("queued", QUEUE_MAX):
        program.ring.high.send_nowait(payload)
    refused = 0
    async with trio.open_nursery() as nursery:
        for payload in numbered("waiting", 20):
            nursery.start_soon(program.ring.high.send, payload)
            await trio.sleep(0.001)
        go.set()
        while program.ring.statistics()["senders_waiting_high"]:
            try:
                program.ring.high.send_nowait(b"pushy|")
            except trio.WouldBlock:
                refused += 1
            else:
                pytest.fail("it overtook senders that wait")
            await trio.lowlevel.checkpoint()
    assert refused


async def test_send_does_not_overtake_those_who_wait(cluster: Cluster) -> None:
    """Newcomers call at every turn of the scheduler, so at those too at which there is room and nobody has run yet."""
    program, go = await blocked_program(cluster)
    queued = numbered("queued", QUEUE_MAX)
    for payload in queued:
        program.ring.high.send_nowait(payload)
    called: list[bytes] = []

    async def send(payload: bytes) -> None:
        called.append(payload)
        await program.ring.high.send(payload)

    async with trio.open_nursery() as nursery:
        for payload in numbered("waiting", 30):
            nursery.start_soon(send, payload)
            await trio.sleep(0.001)
        go.set()
        for payload in numbered("newcomer", 100):
            nursery.start_soon(send, payload)
            await trio.lowlevel.checkpoint()
    await cluster.delivered(called, program)
    assert program.payloads == queued + called


@trio_alone
async def test_tasks_that_wait_for_different_queues_let_time_pass(cluster: Cluster) -> None:
    """Each that tries again may wake the other; if it does so without room, both burn a core until there is some."""
    program, go = await blocked_program(cluster)
    high, low = numbered("high", QUEUE_MAX + 1), numbered("low", QUEUE_MAX + 1)
    async with trio.open_nursery() as nursery:
        for payload in high:
            nursery.start_soon(program.ring.high.send, payload)
        for payload in low:
            nursery.start_soon(program.ring.low.send, payload)
        await trio.sleep(10.0)
        numbers = program.ring.statistics()
        assert (numbers["senders_waiting_high"], numbers["senders_waiting_low"]) == (1, 1)
        go.set()
    await cluster.delivered([*high, *low], program)


async def test_send_nowait_and_send_of_a_full_queue_check_the_payload_first(cluster: Cluster) -> None:
    program, _ = await blocked_program(cluster)
    for payload in numbered("queued", QUEUE_MAX):
        program.ring.high.send_nowait(payload)
    with pytest.raises(TypeError):
        program.ring.high.send_nowait("text")  # type: ignore[arg-type]
    with trio.fail_after(1.0):
        with pytest.raises(TypeError):
            await program.ring.high.send("text")  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            await program.ring.high.send_batch([b"good|", bytes(2**20 + 1)])
    assert program.ring.statistics()["senders_waiting_high"] == 0


async def test_cancelled_send_is_not_sent_and_the_next_in_line_goes_on(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster)
    for payload in numbered("queued", QUEUE_MAX):
        program.ring.low.send_nowait(payload)
    scopes: list[trio.CancelScope] = []
    accepted: list[bytes] = []

    async def send(payload: bytes) -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await program.ring.low.send(payload)
            accepted.append(payload)

    waiting = numbered("waiting", 12)
    async with trio.open_nursery() as nursery:
        for payload in waiting:
            nursery.start_soon(send, payload)
            await trio.sleep(0.001)
        for number in (0, 1, 5, 11):
            scopes[number].cancel()
        await trio.sleep(0.001)
        assert program.ring.statistics()["senders_waiting_low"] == 8
        go.set()
    expected = [payload for number, payload in enumerate(waiting) if number not in (0, 1, 5, 11)]
    assert accepted == expected
    await cluster.delivered(expected, program)
    await trio.sleep(0.5)
    assert program.payloads == numbered("queued", QUEUE_MAX) + expected


async def test_batch_goes_in_as_a_whole_and_in_order(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster)
    first, second, single = numbered("first", 30), numbered("second", 30), b"single|"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.ring.high.send_batch, first)
        await trio.sleep(0.01)
        nursery.start_soon(program.ring.high.send, single)
        await trio.sleep(0.01)
        nursery.start_soon(program.ring.high.send_batch, iter(second))
        await trio.sleep(0.01)
        go.set()
    await cluster.delivered([*first, *second, single], program)
    assert program.payloads == [*first, single, *second]


async def test_cancelled_batch_was_accepted_up_to_a_point(cluster: Cluster) -> None:
    program, go = await blocked_program(cluster)
    batch = numbered("batch", 10)
    with trio.move_on_after(0.5) as scope:
        await program.ring.high.send_batch(batch)
    assert scope.cancelled_caught
    go.set()
    await program.ring.high.send(b"after|")
    await cluster.delivered([b"after|"], program)
    assert program.payloads == [*batch[:QUEUE_MAX], b"after|"]


async def test_batch_with_one_bad_payload_changes_nothing(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    with pytest.raises(TypeError):
        await program.ring.high.send_batch([b"good|", None, b"too|"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        await program.ring.high.send_batch(b"one payload, not many")  # type: ignore[arg-type]
    await program.ring.high.send_batch([])
    await program.ring.high.send(b"only this|")
    await cluster.delivered([b"only this|"], program)
    assert program.payloads == [b"only this|"]


async def test_accepted_messages_outlive_a_change_of_configuration_with_a_full_queue(cluster: Cluster) -> None:
    config = Config.testing(send_queue_max=QUEUE_MAX)
    programs = await cluster.form(1, 2, 3, config=config)
    payloads = numbered("through", 400, 300)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(programs[0].ring.high.send_batch, payloads)
        await until(lambda: len(programs[1].messages) > 50, "it flows")
        await programs[2].stop()
        await until(lambda: len(programs[1].messages) > 150, "it flows again")
        late = cluster.start(3, config=config)
    await cluster.delivered(payloads, programs[0], programs[1])
    await cluster.settled(programs[0], programs[1], late)
    for program in programs[:2]:
        assert program.payloads == payloads


async def test_every_call_that_may_wait_is_a_checkpoint(cluster: Cluster) -> None:
    program = cluster.start(1, body=lambda ring: trio.sleep_forever())
    await cluster.settled_others(program)
    await trio.sleep(0.5)
    ring = program.ring
    for _ in range(2):
        with assert_checkpoints():
            await ring.high.send(b"")
        with assert_checkpoints():
            await ring.low.send_batch([b"", b""])
        with assert_checkpoints():
            await ring.low.send_batch([])
        with assert_checkpoints():
            await ring.events.receive()
        with assert_checkpoints():
            await ring.events.receive_batch(1)
    with assert_checkpoints():
        await ring.recovery_complete.receive()
    with assert_checkpoints():
        await ring.high.aclose()
    with assert_checkpoints():
        await ring.events.aclose()
    with assert_checkpoints():
        await ring.recovery_complete.aclose()
