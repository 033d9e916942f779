"""The ordered stream: what goes in once comes out once, in one order, at every program."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from service_cluster import Cluster, Program, numbered, trio_alone, until

from ringproto import (
    Config,
    Event,
    Guarantee,
    Message,
    Priority,
    RecoveryComplete,
    RegularConfiguration,
    Ring,
    RingClosedError,
    RingId,
)
from ringproto._core import StreamChange
from ringproto._service.channels import EventChannel

MIB = 2**20


async def test_all_programs_read_the_same_stream(cluster: Cluster) -> None:
    cluster.network.loss = 0.03
    cluster.network.duplication = 0.02
    programs = await cluster.form(1, 2, 3)
    ring_id = programs[0].configurations[-1].ring_id
    payloads: list[bytes] = []
    async with trio.open_nursery() as nursery:
        for program in programs:
            for priority in (Priority.HIGH, Priority.LOW):
                for guarantee in Guarantee:
                    mine = numbered(f"{program.node}.{priority}.{guarantee}", 40, filler=37)
                    payloads += mine
                    nursery.start_soon(program.ring.sender(priority, guarantee).send_batch, mine)
    await cluster.delivered(payloads, *programs)
    # The configuration itself says who joined, and to each program others did.
    first, second, third = (program.events_from(ring_id)[1:] for program in programs)
    assert first == second == third
    assert sorted(programs[0].payloads) == sorted(payloads)


async def test_seq_rises_strictly_from_message_to_message(cluster: Cluster) -> None:
    programs = await cluster.form(1, 2)
    for program in programs:
        await program.ring.low.send_batch(numbered(str(program.node), 100))
    await until(lambda: len(programs[1].messages) == 200, "all 200 messages came")
    places = [message.seq for message in programs[1].messages]
    assert places == sorted(set(places))
    assert places[0] > programs[1].completions[-1].seq


@pytest.mark.parametrize("priority", [Priority.HIGH, Priority.LOW])
async def test_one_sender_is_first_in_first_out(cluster: Cluster, priority: Priority) -> None:
    cluster.network.loss = 0.05
    first, second = await cluster.form(1, 2)
    payloads = numbered("fifo", 300)
    for payload in payloads:
        await first.ring.sender(priority).send(payload)
    await cluster.delivered(payloads, second)
    assert second.payloads == payloads


async def test_message_says_what_it_was_sent_as(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    for priority in (Priority.HIGH, Priority.LOW):
        for guarantee in Guarantee:
            sender = first.ring.sender(priority, guarantee)
            assert (sender.priority, sender.guarantee) == (priority, guarantee)
            await sender.send(f"{priority}.{guarantee}|".encode())
    await until(lambda: len(second.messages) == 4, "four messages came")
    for message in second.messages:
        assert message.payload == f"{message.priority}.{message.guarantee}|".encode()
        assert isinstance(message.priority, Priority)
        assert isinstance(message.guarantee, Guarantee)
        assert message.sender == 1
        assert message.ring_id == second.configurations[-1].ring_id


async def test_high_and_low_are_agreed_by_default(cluster: Cluster) -> None:
    (alone,) = await cluster.form(1)
    await alone.ring.high.send(b"h|")
    await alone.ring.low.send(b"l|")
    await cluster.delivered([b"h|", b"l|"], alone)
    assert {(m.payload, m.priority, m.guarantee) for m in alone.messages} == {
        (b"h|", Priority.HIGH, Guarantee.AGREED),
        (b"l|", Priority.LOW, Guarantee.AGREED),
    }


async def test_high_goes_before_low_that_was_queued_earlier(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    low, high = numbered("low", 20, 1000), numbered("high", 20, 1000)
    for payload in low:
        first.ring.low.send_nowait(payload)
    for payload in high:
        first.ring.high.send_nowait(payload)
    await cluster.delivered(low + high, second)
    order = second.payloads
    assert order.index(high[-1]) < order.index(low[-1])
    assert sum(payload in high for payload in order[:24]) >= 18, "HIGH may be preceded by little LOW"


async def test_low_is_not_starved_by_endless_high(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    low = numbered("low", 5)
    for payload in low:
        first.ring.low.send_nowait(payload)

    async def press() -> None:
        for number in range(100_000):
            await first.ring.high.send(f"high.{number}|".encode() + b"x" * 1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(press)
        await cluster.delivered(low, second)
        nursery.cancel_scope.cancel()


async def test_message_of_no_bytes_is_a_message(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    await first.ring.high.send(b"")
    await first.ring.sender(Priority.LOW, Guarantee.SAFE).send(b"")
    await until(lambda: len(second.messages) == 2 == len(first.messages), "both came to both")
    assert [message.payload for message in second.messages] == [b"", b""]
    assert second.messages == first.messages


async def test_message_of_16_mib_arrives_whole(cluster: Cluster) -> None:
    cluster.network = cluster.new_network(seed=3, latency_s=(0.0001, 0.001), loss=0.01, datagram_size_max=65_000)
    config = Config.testing(message_size_max=16 * MIB, leave_timeout_s=5.0)
    first, second = await cluster.form(1, 2, config=config)
    pattern = b"".join(number.to_bytes(4, "big") for number in range(2**18))
    large = b"16 MiB|" + (pattern * 16)[: 16 * MIB - 7]
    assert len(large) == 16 * MIB
    small = numbered("beside", 50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.ring.low.send, large)
        nursery.start_soon(first.ring.high.send_batch, small)
    await until(lambda: len(second.messages) == 51 == len(first.messages), "all came", within_s=120)
    assert [payload for payload in second.payloads if len(payload) > 100] == [large]
    assert second.payloads == first.payloads


async def test_message_of_exactly_the_maximum_is_taken(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2, config=Config.testing(message_size_max=5000))
    await first.ring.high.send(b"m" * 5000)
    await until(lambda: bool(second.messages), "it came")
    assert second.payloads == [b"m" * 5000]


async def test_several_readers_get_each_event_once(cluster: Cluster) -> None:
    shares: list[list[Event]] = [[], [], []]

    async def read(ring: Ring, share: list[Event], batch: bool) -> None:
        async with trio.open_nursery():
            while True:
                if batch:
                    share += await ring.events.receive_batch(3)
                else:
                    share.append(await ring.events.receive())

    async def body(ring: Ring) -> None:
        async with trio.open_nursery() as nursery:
            for number, share in enumerate(shares):
                nursery.start_soon(read, ring, share, number == 1)

    shared = cluster.start(1, body=body)
    whole = cluster.start(2)
    await until(lambda: any(event.members == (1, 2) for event in whole.completions), "the ring formed")
    payloads = numbered("share", 200)
    await whole.ring.high.send_batch(payloads)
    await cluster.delivered(payloads, whole)
    await until(lambda: sum(map(len, shares)) == len(whole.events), "all events were read")
    together = [event for share in shares for event in share if isinstance(event, Message)]
    assert sorted(message.payload for message in together) == sorted(payloads)
    for share in shares:
        places = [event.seq for event in share if isinstance(event, Message)]
        assert places == sorted(places), "each reader reads in order"
    await shared.stop()


async def test_receive_gives_one_event_and_receive_batch_at_most_the_limit(cluster: Cluster) -> None:
    reader = cluster.start(1, body=lambda ring: trio.sleep_forever())
    writer = cluster.start(2)
    await until(lambda: bool(writer.completions) and writer.completions[-1].members == (1, 2), "the ring formed")
    payloads = numbered("b", 30)
    await writer.ring.high.send_batch(payloads)
    await cluster.delivered(payloads, writer)
    await trio.sleep(0.5)
    events = reader.ring.events
    one = await events.receive()
    batch = await events.receive_batch(5)
    rest = await events.receive_batch(2**64)  # as good as no limit
    assert len(batch) == 5
    got = [one, *batch, *rest]
    assert [event.payload for event in got if isinstance(event, Message)] == payloads
    with pytest.raises(trio.WouldBlock):
        events.receive_nowait()


async def test_receive_nowait_gives_what_is_there(cluster: Cluster) -> None:
    program = cluster.start(1, body=lambda ring: trio.sleep_forever())
    await until(lambda: program._ring is not None, "it runs")
    await trio.sleep(1.0)
    seen: list[Event] = []
    with pytest.raises(trio.WouldBlock):
        while True:
            seen.append(program.ring.events.receive_nowait())
    assert isinstance(seen[0], RegularConfiguration)
    completions = [event for event in seen if isinstance(event, RecoveryComplete)]
    assert completions
    assert completions == [await program.ring.recovery_complete.receive() for _ in completions]


async def test_stream_ends_after_the_last_event_when_the_processor_has_left(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    first.reading = trio.Event()
    await trio.sleep(0)
    await second.ring.high.send(b"one more|")
    await cluster.delivered([b"one more|"], second)
    await trio.sleep(0.5)
    await first.stop()
    rest = [event async for event in first.ring.events]
    assert [m.payload for m in [*first.messages, *rest] if isinstance(m, Message)] == [b"one more|"]
    with pytest.raises(trio.EndOfChannel):
        await first.ring.events.receive()
    with pytest.raises(trio.EndOfChannel):
        first.ring.events.receive_nowait()


async def test_events_that_are_closed_are_thrown_away_and_the_ring_goes_on(cluster: Cluster) -> None:
    async def body(ring: Ring) -> None:
        await ring.events.aclose()
        with pytest.raises(RingClosedError, match="closed"):
            await ring.events.receive()
        await trio.sleep_forever()

    deaf = cluster.start(1, body=body)
    reader = cluster.start(2)
    await until(lambda: bool(reader.completions) and reader.completions[-1].members == (1, 2), "the ring formed")
    payloads = numbered("many", 3000)
    with trio.fail_after(60):
        await deaf.ring.high.send_batch(payloads)
    await cluster.delivered(payloads, reader, within_s=60)
    assert reader.payloads == payloads
    assert deaf.ring.statistics()["events_waiting"] == 0


async def test_closing_the_events_wakes_a_reader(cluster: Cluster) -> None:
    told = trio.Event()

    async def body(ring: Ring) -> None:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(RingClosedError):
                    async for _ in ring.events:
                        pass
                told.set()

            nursery.start_soon(read)
            await trio.sleep(0.5)
            await ring.events.aclose()

    program = cluster.start(1, body=body)
    await program.end()
    assert told.is_set()


@trio_alone
async def test_program_that_reads_only_recovery_complete(cluster: Cluster) -> None:
    seen = []

    async def body(ring: Ring) -> None:
        await ring.events.aclose()
        async for completion in ring.recovery_complete:
            seen.append(completion)

    watcher = cluster.start(1, body=body)
    second = cluster.start(2)
    await until(lambda: bool(seen) and seen[-1].members == (1, 2), "it saw the ring form")
    third = cluster.start(3)
    await cluster.settled_others(watcher, second, third)
    assert seen[-1] == second.completions[-1]
    assert [completion for completion in seen if completion.members != (1,)] == second.completions[-2:]


async def test_recovery_complete_is_beside_the_stream_and_not_instead(cluster: Cluster) -> None:
    seen = []

    async def body(ring: Ring) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program._read, ring)
            async for completion in ring.recovery_complete:
                seen.append(completion)

    program: Program = cluster.start(1, body=body)
    peer = cluster.start(2)
    await cluster.settled(program, peer)
    await until(lambda: seen == program.completions, "both channels gave the same completions")


async def test_each_completion_goes_to_one_of_several_readers(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    ring = program.ring
    await ring.recovery_complete.receive()
    taken: list[tuple[int, ...]] = []

    async def read() -> None:
        async for completion in ring.recovery_complete:
            taken.append(completion.members)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        peer = cluster.start(2)
        await cluster.settled(program, peer)
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert taken.count((1, 2)) == 1


async def test_everybody_who_waits_hears_of_the_end(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    ring = program.ring
    ended: list[str] = []

    async def read() -> None:
        async for _ in ring.events:
            pass
        ended.append("events")

    async def complete() -> None:
        async for _ in ring.recovery_complete:
            pass
        ended.append("completions")

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for task in (read, read, read, complete, complete):
                nursery.start_soon(task)
            await trio.sleep(0.1)
            await program.stop()
    assert sorted(ended) == ["completions"] * 2 + ["events"] * 3


class OneByOne:
    """A driver from which events are taken, whatever they are; it counts nothing itself."""

    has_left = False

    def check_thread(self) -> None:
        """It is the right one."""

    def take_events(self, limit: int) -> list[int]:
        return [0] * min(limit, 1)


@pytest.mark.parametrize(
    ("message", "completion", "needed"),
    [(0, 0, 0), (0, 2, 2), (0, 3, 3), (2, 0, 3), (2, 1, 3), (1, 3, 3), (3, 2, 4)],
)
async def test_recover_waits_for_messages_to_be_dealt_with_and_for_completions_to_be_taken(
    message: int, completion: int, needed: int
) -> None:
    """After how many takes of one event. Who comes for another one has dealt with the former."""
    events = EventChannel(OneByOne())  # type: ignore[arg-type]
    change = StreamChange(RecoveryComplete(RingId(1, 1, 1), 1, (1,)), message, completion)
    taken = 0
    events.receive_nowait()
    taken += 1
    read = trio.Event()

    async def wait() -> None:
        await events.wait_until_read(change)
        read.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        while not read.is_set() and taken < 9:
            events.receive_nowait()
            taken += 1
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert taken == max(needed, 1)


async def test_recovery_complete_ends_and_can_be_closed(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    channel = program.ring.recovery_complete
    assert (await channel.receive()).members == (1,)
    await program.stop()
    with pytest.raises(trio.EndOfChannel):
        await channel.receive()
    await channel.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await channel.receive()


@trio_alone
@pytest.mark.parametrize("latency_s", [0.0, 0.001, (0.0004, 0.001)], ids=["none", "constant", "drawn"])
async def test_ring_without_faults_sends_nothing_twice_under_load(
    cluster: Cluster, latency_s: float | tuple[float, float]
) -> None:
    """Senders and the driver meet in one instant again and again; nothing that is to be sent may get lost there.

    No datagram is on its way for longer than a hop and a rotation of the token, or it would be asked for.
    """
    cluster.network.latency_s = latency_s
    programs = await cluster.form(1, 2, 3)
    before = [program.ring.statistics() for program in programs]

    async def load(program: Program) -> None:
        for payload in numbered(f"load{program.node}", 300, 100):
            await program.ring.high.send(payload)
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        for program in programs:
            nursery.start_soon(load, program)
    await until(lambda: all(len(program.messages) == 900 for program in programs), "all came")
    nothing_was_sent_twice(programs, before)


@trio_alone
@pytest.mark.parametrize("latency_ticks", [0, 1])
async def test_send_at_the_very_moment_of_an_arrival_costs_no_datagram(cluster: Cluster, latency_ticks: int) -> None:
    """All times are multiples of one tick, so sends meet the arrival of the resting token again and again."""
    tick_s = 2.0**-10
    cluster.network.latency_s = latency_ticks * tick_s
    config = Config.testing(
        token_hold_s=4 * tick_s,
        join_timeout_s=4 * tick_s,
        token_retransmit_min_s=16 * tick_s,
        token_retransmit_s=32 * tick_s,
        consensus_timeout_s=64 * tick_s,
        merge_detect_s=64 * tick_s,
        token_timeout_s=128 * tick_s,
    )
    programs = await cluster.form(1, 2, 3, config=config)
    before = [program.ring.statistics() for program in programs]
    await trio.sleep_until(2.0)

    async def load(program: Program) -> None:
        for payload in numbered(str(program.node), 100):
            await program.ring.high.send(payload)
            await trio.sleep((30 + len(payload) % 7) * tick_s)

    async with trio.open_nursery() as nursery:
        for program in programs:
            nursery.start_soon(load, program)
    await until(lambda: all(len(program.messages) == 300 for program in programs), "all came")
    nothing_was_sent_twice(programs, before)


def nothing_was_sent_twice(programs: list[Program], before: list[dict[str, int | float]]) -> None:
    for program, old in zip(programs, before, strict=True):
        now = program.ring.statistics()
        for name in ("retransmissions", "tokens_retransmitted", "token_losses"):
            assert now.get(name, 0) == old.get(name, 0), f"{name} of program {program.node}"
