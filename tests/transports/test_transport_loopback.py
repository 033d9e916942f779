"""The network in memory: its faults, its clock, its limits."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from ringproto.transports import LoopbackNetwork
from ringproto.transports.loopback import BATCH_MAX, LoopbackTransport

Trace = list[tuple[float, int, bytes]]


async def waiting(transport: LoopbackTransport, within_s: float = 60.0) -> list[bytes]:
    """All that arrives within a time that no latency here exceeds."""
    got: list[bytes] = []
    with trio.move_on_after(within_s):
        while True:
            got += await transport.receive()
    return got


def numbered(count: int, prefix: bytes = b"") -> list[bytes]:
    return [prefix + b"%d" % number for number in range(count)]


async def test_zero_latency_hands_over_at_once(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    first, second = network.open(1), network.open(2)
    start = trio.current_time()
    await first.send([(2, one) for one in numbered(10)])
    assert await second.receive() == numbered(10)
    assert trio.current_time() == start


async def test_constant_latency_delays_and_keeps_the_order(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(latency_s=0.25)
    first, second = network.open(1), network.open(2)
    start = trio.current_time()
    await first.send([(2, one) for one in numbered(10)])
    assert await second.receive() == numbered(10)
    assert trio.current_time() - start == pytest.approx(0.25)


async def test_latency_spread_reorders_within_its_bounds(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(seed=1, latency_s=(0.1, 0.2))
    first, second = network.open(1), network.open(2)
    start = trio.current_time()
    await first.send([(2, one) for one in numbered(100)])
    times = []
    got: list[bytes] = []
    while len(got) < 100:
        batch = await second.receive()
        times.append(trio.current_time() - start)
        got += batch
    assert sorted(got) == sorted(numbered(100))
    assert got != numbered(100)
    assert times[0] >= 0.1
    assert times[-1] <= 0.2 + 1e-9
    assert len(times) > 50, "datagrams that are due at different times came in one batch"


async def test_datagram_that_is_due_earlier_wakes_a_receiver_that_sleeps(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = LoopbackNetwork(latency_s=10.0)
    first, second = network.open(1), network.open(2)
    await first.send([(2, b"slow")])
    async with trio.open_nursery() as nursery:

        async def receive_fast() -> None:
            assert await second.receive() == [b"fast"]
            assert trio.current_time() - start == pytest.approx(1.5)

        start = trio.current_time()
        nursery.start_soon(receive_fast)
        await trio.sleep(1.0)
        network.latency_s = 0.5
        await first.send([(2, b"fast")])
    assert await second.receive() == [b"slow"]
    assert trio.current_time() - start == pytest.approx(10.0)


async def test_loss_is_drawn_for_each_destination_and_counted(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(seed=3, loss=0.3)
    first, second, third = (network.open(node) for node in (1, 2, 3))
    await first.send([(0, one) for one in numbered(500)])
    at_second, at_third = await waiting(second), await waiting(third)
    assert 300 < len(at_second) < 400
    assert 300 < len(at_third) < 400
    assert at_second != at_third
    statistics = first.statistics()
    assert statistics["drops_lost"] == 1000 - len(at_second) - len(at_third)
    assert statistics["datagrams_sent"] == 1000


async def test_certain_loss_loses_everything_until_it_is_changed(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(loss=1.0)
    first, second = network.open(1), network.open(2)
    await first.send([(2, b"lost")])
    network.loss = 0.0
    await first.send([(2, b"found")])
    assert await waiting(second) == [b"found"]


async def test_duplicates_come_with_a_delay_of_their_own(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(seed=5, latency_s=(0.0, 1.0), duplication=1.0)
    first, second = network.open(1), network.open(2)
    await first.send([(2, one) for one in numbered(50)])
    got = await waiting(second)
    assert sorted(got) == sorted(numbered(50) * 2)
    assert first.statistics()["duplicates"] == 50
    assert first.statistics()["datagrams_sent"] == 50
    distances = {abs(got.index(one) - (len(got) - 1 - got[::-1].index(one))) for one in numbered(50)}
    assert max(distances) > 10


def traced_run(seed: int, latency_s: Any) -> Trace:
    """Four processors that send on timers of one period and answer what they get."""
    trace: Trace = []

    async def main() -> None:
        network = LoopbackNetwork(seed=seed, latency_s=latency_s, loss=0.1, duplication=0.1)

        async def processor(node: int) -> None:
            transport = network.open(node)
            async with trio.open_nursery() as nursery:

                async def listen() -> None:
                    while True:
                        for datagram in await transport.receive():
                            trace.append((trio.current_time(), node, datagram))
                            if datagram.startswith(b"all"):
                                await transport.send([(datagram[-1] - 48, b"answer %d" % node)])

                nursery.start_soon(listen)
                for number in range(20):
                    await trio.sleep(0.01)
                    await transport.send([(0, b"all %d %d" % (number, node))])
                await trio.sleep(1)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for node in (1, 2, 3, 4):
                nursery.start_soon(processor, node)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return trace


@pytest.mark.parametrize("latency_s", [0.002, (0.001, 0.02)], ids=["constant", "spread"])
def test_one_seed_is_one_history(latency_s: Any) -> None:
    # trio runs the tasks of one instant in random order, so a processor's own history is what repeats.
    histories = [sorted(traced_run(11, latency_s), key=lambda entry: entry[1]) for _ in range(4)]
    assert len(histories[0]) > 300
    for history in histories[1:]:
        assert history == histories[0]
    assert sorted(traced_run(12, latency_s), key=lambda entry: entry[1]) != histories[0]


async def test_partition_and_heal(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    first, second, third = (network.open(node) for node in (1, 2, 3))
    network.partition({1, 2}, {3})
    await first.send([(0, b"to my side"), (3, b"across")])
    await third.send([(0, b"alone")])
    assert await waiting(second) == [b"to my side"]
    assert await waiting(third) == []
    assert await waiting(first) == []
    assert first.statistics()["drops_cut"] == 2
    assert third.statistics()["drops_cut"] == 2
    network.heal()
    await third.send([(0, b"together")])
    assert await waiting(first) == await waiting(second) == [b"together"]


async def test_those_in_no_group_are_a_group(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    transports = {node: network.open(node) for node in (1, 2, 3, 4)}
    network.partition({1, 2})
    for node, transport in transports.items():
        await transport.send([(0, b"%d" % node)])
    assert {node: await waiting(one) for node, one in transports.items()} == {
        1: [b"2"],
        2: [b"1"],
        3: [b"4"],
        4: [b"3"],
    }


async def test_member_of_two_groups_is_a_bridge(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    transports = {node: network.open(node) for node in (1, 2, 3)}
    network.partition({1, 2}, {2, 3})
    for node, transport in transports.items():
        await transport.send([(0, b"%d" % node)])
    assert {node: await waiting(one) for node, one in transports.items()} == {1: [b"2"], 2: [b"1", b"3"], 3: [b"2"]}


async def test_new_partition_replaces_the_former(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    first, second, _ = (network.open(node) for node in (1, 2, 3))
    network.partition({1}, {2, 3})
    network.partition({1, 2}, {3})
    await first.send([(0, b"x")])
    assert await waiting(second) == [b"x"]


async def test_processor_that_opens_in_a_partition_is_in_it(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    first = network.open(1)
    network.partition({1, 3}, {2})
    second, third = network.open(2), network.open(3)
    await first.send([(0, b"x")])
    assert await waiting(second) == []
    assert await waiting(third) == [b"x"]


async def test_cut_is_one_way(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    first, second, third = (network.open(node) for node in (1, 2, 3))
    network.cut(1, 2)
    await first.send([(0, b"from 1"), (2, b"unicast")])
    await second.send([(1, b"from 2")])
    assert await waiting(second) == []
    assert await waiting(third) == [b"from 1"]
    assert await waiting(first) == [b"from 2"]
    assert first.statistics()["drops_cut"] == 2
    network.mend(1, 2)
    network.mend(2, 3)  # was never cut
    await first.send([(2, b"mended")])
    assert await waiting(second) == [b"mended"]
    network.cut(1, 2)
    network.heal()
    await first.send([(2, b"healed")])
    assert await waiting(second) == [b"healed"]


async def test_datagrams_under_way_cross_a_partition_that_comes_later(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(latency_s=1.0)
    first, second = network.open(1), network.open(2)
    await first.send([(2, b"before")])
    network.partition({1}, {2})
    await first.send([(2, b"after")])
    assert await waiting(second) == [b"before"]


async def test_crashed_processor_is_deaf_and_mute(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(latency_s=0.1)
    first, second = network.open(1), network.open(2)
    await second.send([(1, b"never read")])
    await first.send([(2, b"last words")])
    network.crash(1)
    assert network.nodes == (2,)
    await first.send([(2, b"from the dead")])
    await second.send([(1, b"to the dead")])
    assert await waiting(first) == []
    assert await waiting(second) == [b"last words"]
    assert first.statistics()["drops_crashed"] == 1
    assert second.statistics()["drops_unknown_destination"] == 1
    assert "crashed" in repr(first)


async def test_crashed_processor_can_start_anew_at_once(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    first, second = network.open(1), network.open(2)
    network.crash(1)
    again = network.open(1)
    await first.aclose()  # the old transport must not take the new one with it
    await second.send([(1, b"hello again")])
    assert await waiting(again) == [b"hello again"]


async def test_crash_while_it_receives_leaves_it_waiting(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(latency_s=0.1)
    first, second = network.open(1), network.open(2)
    await second.send([(1, b"too late")])
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await first.receive()

        nursery.start_soon(receive)
        await trio.sleep(0.05)
        network.crash(1)
        await trio.sleep(10)
        await first.aclose()


async def test_transport_dropped_without_closing_frees_its_id() -> None:
    network = LoopbackNetwork()
    network.open(1)
    gc.collect()
    second = network.open(2)
    again = network.open(1)
    assert network.nodes == (1, 2)
    await again.send([(2, b"x")])
    assert await second.receive() == [b"x"]


async def test_restarted_processor_does_not_repeat_its_luck(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(seed=2, loss=0.5)
    receiver = network.open(9)
    fates = []
    for _ in range(2):
        transport = network.open(1)
        await transport.send([(9, one) for one in numbered(64)])
        fates.append(await waiting(receiver))
        await transport.aclose()
    assert fates[0] != fates[1]


async def test_full_queue_drops_the_tail_and_counts(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(queue_max=3)
    first, second = network.open(1), network.open(2)
    await first.send([(2, one) for one in numbered(5)])
    assert await second.receive() == numbered(3)
    assert second.statistics()["drops_queue_full"] == 2
    await first.send([(2, b"there is room again")])
    assert await second.receive() == [b"there is room again"]


@pytest.mark.parametrize("latency_s", [0.0, 0.001])
async def test_each_datagram_takes_room_in_the_queue_until_it_is_read(
    latency_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Over many reads, of which some leave something: no room is lost, and none comes from nowhere."""
    room = BATCH_MAX + 2
    network = LoopbackNetwork(queue_max=room, latency_s=latency_s)
    first, second = network.open(1), network.open(2)
    sent = numbered(room)
    await first.send([(2, one) for one in sent])
    for again in range(5):
        await first.send([(2, b"there is no room"), (2, b"nor now")])
        await trio.sleep(0.01)
        assert second.statistics()["drops_queue_full"] == 2 * (again + 1)
        batch = await second.receive()
        assert len(batch) == BATCH_MAX
        sent = numbered(BATCH_MAX, b"again ")
        await first.send([(2, one) for one in sent])
    assert second.statistics()["drops_queue_full"] == 10


async def test_datagrams_under_way_take_room_in_the_queue(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(queue_max=3, latency_s=(0.1, 0.2))
    first, second = network.open(1), network.open(2)
    await first.send([(2, one) for one in numbered(5)])
    assert sorted(await waiting(second)) == numbered(3)
    assert second.statistics()["drops_queue_full"] == 2


async def test_batches_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    for latency_s in (0.0, 0.1):
        network = LoopbackNetwork(latency_s=latency_s)
        first, second = network.open(1), network.open(2)
        count = 2 * BATCH_MAX + 1
        await first.send([(2, one) for one in numbered(count)])
        batches = [await second.receive() for _ in range(3)]
        assert [len(batch) for batch in batches] == [BATCH_MAX, BATCH_MAX, 1]
        assert [one for batch in batches for one in batch] == numbered(count)


async def test_statistics_count_by_reason(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    first, second, _ = (network.open(node) for node in (1, 2, 3))
    await first.send([(0, b"abc"), (2, b"de"), (1, b"to myself"), (77, b"to nobody")])
    assert await waiting(second) == [b"abc", b"de"]
    assert first.statistics() == {
        "datagrams_sent": 3,
        "bytes_sent": 8,
        "datagrams_received": 0,
        "bytes_received": 0,
        "duplicates": 0,
        "drops_lost": 0,
        "drops_cut": 0,
        "drops_crashed": 0,
        "drops_unknown_destination": 1,
        "drops_to_self": 1,
        "drops_queue_full": 0,
    }
    assert second.statistics()["bytes_received"] == 5


@pytest.mark.parametrize("node", [0, -1, 2**32, 1.5, "1", None, True])
def test_id_that_is_none_is_refused(node: Any) -> None:
    network = LoopbackNetwork()
    with pytest.raises(ValueError, match=r"node id, a whole number from 1 to 4294967295, not"):
        network.open(node)
    assert network.nodes == ()


async def test_one_id_cannot_be_open_twice() -> None:
    network = LoopbackNetwork()
    first = network.open(7)
    with pytest.raises(ValueError, match="node 7 is open already"):
        network.open(7)
    await first.aclose()
    network.open(7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": 1.1}, "loss must be a probability from 0 to 1, not 1.1"),
        ({"loss": "much"}, "loss must be a probability"),
        ({"duplication": -0.1}, "duplication must be a probability"),
        ({"duplication": math.nan}, "duplication must be a probability"),
        ({"latency_s": -1}, "latency_s must be seconds"),
        ({"latency_s": (2, 1)}, "latency_s must be seconds"),
        ({"latency_s": (0, math.inf)}, "latency_s must be seconds"),
        ({"latency_s": (1, 2, 3)}, "latency_s must be seconds"),
        ({"latency_s": "fast"}, "latency_s must be seconds"),
        ({"latency_s": math.nan}, "latency_s must be seconds"),
        ({"seed": None}, "seed must be a whole number, .*, not None"),
        ({"seed": "7"}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"queue_max": 0}, "queue_max must be a whole number from 1"),
        ({"datagram_size_max": 0}, "datagram_size_max must be a whole number from 1"),
    ],
)
def test_network_says_what_is_wrong_with_its_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoopbackNetwork(**arguments)


def test_faults_that_are_set_wrongly_change_nothing() -> None:
    network = LoopbackNetwork(loss=0.25, latency_s=0.5, duplication=0.125)
    for name in ("loss", "latency_s", "duplication"):
        with pytest.raises(ValueError, match=name):
            setattr(network, name, -1)
    assert (network.loss, network.latency_s, network.duplication) == (0.25, (0.5, 0.5), 0.125)


def test_topology_says_what_is_wrong_with_its_arguments() -> None:
    network = LoopbackNetwork()
    network.open(1)
    with pytest.raises(ValueError, match="one group or more"):
        network.partition()
    with pytest.raises(TypeError, match="groups of node ids"):
        network.partition(1, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a member of a group must be a node id"):
        network.partition({1, 0})
    with pytest.raises(ValueError, match="source must be a node id"):
        network.cut(0, 1)
    with pytest.raises(ValueError, match="destination must be a node id"):
        network.cut(1, 0)
    with pytest.raises(ValueError, match="not 1 twice"):
        network.cut(1, 1)
    with pytest.raises(ValueError, match="node 5 is not open"):
        network.crash(5)


@settings(max_examples=60, deadline=None)
@given(
    sends=st.lists(
        st.tuples(st.floats(0, 0.5), st.floats(0, 0.3), st.integers(1, 4)), min_size=1, max_size=25
    ),  # pause before it, latency, datagrams
    naps=st.lists(st.floats(0.001, 0.3), min_size=1, max_size=10),
)
def test_everything_arrives_once_and_when_it_is_due(sends: list[tuple[float, float, int]], naps: list[float]) -> None:
    """Whatever the latencies are, and however often ``receive`` is cancelled meanwhile."""

    async def main() -> None:
        network = LoopbackNetwork()
        first, second = network.open(1), network.open(2)
        due: dict[bytes, float] = {}
        arrived: dict[bytes, float] = {}
        total = sum(count for _, _, count in sends)

        async def send() -> None:
            for pause_s, latency_s, count in sends:
                await trio.sleep(pause_s)
                network.latency_s = latency_s
                batch = [b"%d" % (len(due) + number) for number in range(count)]
                due.update(dict.fromkeys(batch, trio.current_time() + latency_s))
                await first.send([(2, datagram) for datagram in batch])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            turn = 0
            while len(arrived) < total:
                with trio.move_on_after(naps[turn % len(naps)]):
                    for datagram in await second.receive():
                        assert datagram not in arrived
                        arrived[datagram] = trio.current_time()
                turn += 1
        assert arrived.keys() == due.keys()
        for datagram, time in arrived.items():
            assert time >= due[datagram]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
